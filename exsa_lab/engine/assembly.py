"""From opened models to a loop: contexts, slots and drafters."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast

from exsa_lab.config import EngineConfig
from exsa_lab.costs.cache import Facts
from exsa_lab.costs.measure import find_costs
from exsa_lab.costs.model import CostModel, Kind
from exsa_lab.engine.drafting import Drafting
from exsa_lab.engine.kv_slots import SlotTable
from exsa_lab.engine.loop import Loop
from exsa_lab.engine.proposers import ModelDrafter
from exsa_lab.runtime.protocol import Batch, Context, Logits, Model

SLOTS_PER_SEQUENCE = 4
"""Slots for each sequence that can run at once. Slots take no memory, and as long as there are empty ones nothing in
the cache has to be cleared in the midst of others' work."""
MAX_SLOTS = 255
"""llama.cpp knows 256 sequences, and one is kept apart."""


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
        can_roll_back = models.target.can_remove_partially()
        n_slots = min(SLOTS_PER_SEQUENCE * config.n_seq_max, MAX_SLOTS) if can_roll_back else config.n_seq_max
        # One more where a lone token may need a companion, see `exsa_lab.engine.loop`.
        context = models.target.open_context(config, models.n_threads, slots=n_slots + config.reproducible)
        opened.append(context)
        slots = SlotTable(
            n_slots,
            context.n_ctx,
            max_held=config.n_seq_max,
            max_cached=config.prefix_cache_tokens,
            fast_cells=config.fast_cells,
            can_share=can_roll_back,
        )
        drafter = None
        if models.draft is not None and can_roll_back:
            opened.append(models.draft.open_context(config, models.n_threads, slots=n_slots))
            drafter = ModelDrafter(models.draft, opened[-1], slots, models.target.vocab_size)
        elif not can_roll_back:
            models.notes += (f"{models.target.name} cannot roll its memory back, so draft_length is 0.",)
        if models.costs is None and models.cost_facts is not None:
            contexts: dict[Kind, Context] = {"target": context}
            if drafter is not None:
                contexts["draft"] = drafter.context
            contexts = {kind: cast(Context, _Stoppable(context, is_stopping)) for kind, context in contexts.items()}
            models.costs, note = find_costs(
                contexts, models.cost_facts, anew=config.recalibrate, in_a_row=config.n_gpu_layers != 0
            )
            models.notes += (note,) if note else ()
        drafting = Drafting(drafter, models.costs, config, can_roll_back=can_roll_back, is_end=models.target.is_end)
        return Loop(models.target, context, drafting, slots, config)
    except BaseException:
        for context in opened:
            context.close()
        models.close()
        raise
