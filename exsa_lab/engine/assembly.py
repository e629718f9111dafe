"""From opened models to a loop: contexts, slots and drafters."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, cast

from exsa_lab.config import EngineConfig
from exsa_lab.costs.cache import Facts
from exsa_lab.costs.measure import find_costs
from exsa_lab.costs.model import CostModel, Kind
from exsa_lab.engine.caches.checkpoints import Checkpoints
from exsa_lab.engine.drafting import Drafting
from exsa_lab.engine.kv_slots import SlotTable
from exsa_lab.engine.loop import Loop
from exsa_lab.engine.proposers import ModelDrafter
from exsa_lab.models.memory import draft_slots, num_slots, target_slots
from exsa_lab.runtime.protocol import UNLIMITED, Batch, Context, Logits, Model


@dataclass(slots=True)
class Models:
    """Opened target and draft, and what opening them had to say."""

    target: Model
    draft: Model | None = None
    n_threads: int = 1
    notes: tuple[str, ...] = ()
    cost_facts: Facts | None = None
    """What the cost of a step depends on; None leaves costs unmeasured."""
    costs: CostModel | None = None
    """Costs that are known already."""

    def close(self) -> None:
        if self.draft is not None:
            self.draft.close()
        self.target.close()


class _Stoppable:
    """A context whose decodes are refused once loading is to stop."""

    def __init__(self, context: Context, is_stopping: Callable[[], bool]) -> None:
        self._context = context
        self._is_stopping = is_stopping

    def __getattr__(self, name: str) -> Any:
        return getattr(self._context, name)

    def decode(self, batch: Batch) -> Logits:
        if self._is_stopping():
            raise KeyboardInterrupt
        return self._context.decode(batch)


def assemble(models: Models, config: EngineConfig, *, is_stopping: Callable[[], bool] = lambda: False) -> Loop:
    """Open the contexts and put the loop together; closes everything again when that fails.

    Measuring what a step costs ends with KeyboardInterrupt once ``is_stopping()``.
    """
    opened = []
    try:
        n_slots = num_slots(config, is_recurrent=models.target.is_recurrent)
        context = models.target.open_context(config, models.n_threads, slots=target_slots(config, n_slots))
        opened.append(context)
        is_limited = context.max_rollback != UNLIMITED
        slots = SlotTable(
            n_slots,
            context.max_position,
            max_held=config.n_seq_max,
            max_cached=context.n_ctx if is_limited and config.prefix_cache_tokens else config.prefix_cache_tokens,
            fast_cells=config.fast_cells,
            max_rollback=context.max_rollback,
            checkpoints=Checkpoints(config.checkpoint_bytes if config.prefix_cache_tokens else 0),
            need_no_cells=context.saves_whole_slots,
            window=context.window,
            is_draft_recurrent=models.draft is not None and models.draft.is_recurrent,
        )
        if not context.max_rollback:
            _do_without_drafts(models)
        drafter = None
        if models.draft is not None:
            drafter, draft_context = _open_drafter(models.draft, models, config, slots, n_slots)
            opened.append(draft_context)
        if models.costs is None and models.cost_facts is not None:
            contexts: dict[Kind, Context] = {"target": context}
            if drafter is not None:
                contexts["draft"] = drafter.context
            contexts = {kind: cast(Context, _Stoppable(context, is_stopping)) for kind, context in contexts.items()}
            models.costs, note = find_costs(
                contexts, models.cost_facts, anew=config.recalibrate, in_a_row=config.n_gpu_layers != 0
            )
            models.notes += (note,) if note else ()
        drafting = Drafting(
            drafter, models.costs, config, max_rollback=context.max_rollback, is_end=models.target.is_end
        )
        return Loop(models.target, context, drafting, slots, config)
    except BaseException:
        for context in opened:
            context.close()
        models.close()
        raise


def _do_without_drafts(models: Models) -> None:
    """The target's memory cannot be rolled back: say so, and free the draft."""
    what = ", and its draft is not loaded" if models.draft is not None else ""
    models.notes += (
        f"{models.target.name} keeps a recurrent state that cannot roll back, so draft_length is 0{what}.",
    )
    if models.draft is not None:
        models.draft.close()
        models.draft = None


def _open_drafter(
    draft: Model, models: Models, config: EngineConfig, slots: SlotTable, n_slots: int
) -> tuple[ModelDrafter, Context]:
    # A recurrent draft computes its drafts in spare slots, and is never taken back.
    settings = replace(config, n_rs_seq=0) if draft.is_recurrent else config
    num = draft_slots(config, n_slots, is_recurrent=draft.is_recurrent)
    context = draft.open_context(settings, models.n_threads, slots=num)
    first_spare = n_slots if draft.is_recurrent else None
    if draft.n_ctx_train < min(config.n_ctx, models.target.n_ctx_train):
        models.notes += (f"{draft.name} was trained for {draft.n_ctx_train:,} tokens and drafts in texts below that.",)
    return ModelDrafter(draft, context, slots, models.target.vocab_size, first_spare=first_spare), context
