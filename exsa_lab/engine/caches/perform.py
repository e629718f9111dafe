"""Do to the caches of target and draft what the slot table decided."""

from __future__ import annotations

from exsa_lab.engine.caches.operations import Operation, Restore, Save, Share, Truncate
from exsa_lab.engine.caches.windows import is_whole
from exsa_lab.engine.kv_slots import SlotTable
from exsa_lab.engine.proposers import ModelDrafter
from exsa_lab.errors import LOAD_AGAIN, EngineFailed
from exsa_lab.runtime.protocol import Context


def perform(slots: SlotTable, context: Context, drafter: ModelDrafter | None) -> bool:
    """Perform the operations recorded since the last call, in order; False where the target lost what it had.

    What is lost was taken out of the table and is computed again, but a step that was planned on it is void. Raises
    EngineFailed where a cache cannot even be cleared: nothing computed with it could be believed.
    """
    is_intact = True
    while operations := slots.take_operations():
        for operation in operations:
            if isinstance(operation, Save):
                _save(operation, slots, context, is_intact=is_intact)
            elif not _perform(operation, context):
                slots.lose(operation.target if isinstance(operation, Share) else operation.slot)
                is_intact = False
            if drafter:
                _perform_on_draft(operation, drafter)
    return is_intact


def _save(operation: Save, slots: SlotTable, context: Context, *, is_intact: bool) -> None:
    try:
        state = context.save(operation.slot) if is_intact else None
    except BaseException:
        state = None
    slots.checkpoints.fill(operation.checkpoint, state)


def _perform(operation: Operation, context: Context) -> bool:
    """Perform it on the target's cache; False where that could not be done, for whatever reason."""
    try:
        match operation:
            case Share(source, target, length):
                context.copy(source, target, 0, length)
            case Restore(slot, checkpoint):
                assert checkpoint.state is not None
                context.restore(slot, checkpoint.state, checkpoint.length)
            case Truncate(slot, length):
                return context.remove(slot, length) and is_whole(context, slot, length)
    except BaseException as cause:
        if isinstance(operation, Truncate) and not operation.length:
            raise EngineFailed("the KV cache cannot be cleared.", hint=LOAD_AGAIN) from cause
        return False
    return True


def _perform_on_draft(operation: Operation, drafter: ModelDrafter) -> None:
    match operation:
        case Share(source, target, _, draft_length):
            drafter.share(source, target, draft_length)
        case Restore(slot, checkpoint):
            drafter.truncate(slot, checkpoint.length)
        case Truncate(slot, length):
            drafter.truncate(slot, length)
