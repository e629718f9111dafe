"""Measure on the real contexts what a step costs, or take it from the cache on disk."""

from __future__ import annotations

import time

from exsa_lab.costs.cache import Cached, Facts, default_folder, load_costs, save_costs
from exsa_lab.costs.calibration import CATCH_UP, calibrate
from exsa_lab.costs.model import CostModel, Kind
from exsa_lab.runtime.protocol import UNLIMITED, Batch, Context
from exsa_lab.runtime.steady import STEPS_TO_RECORD
from exsa_lab.scatter import MEASURED_STEPS, if_busy

DEPTH = 128
"""Tokens of context that the measured decodes attend to."""
ENOUGH_POINTS = 6
"""Fewer points of the target's curve than this are not worth keeping."""
MAX_OFF = 1.25
"""Kept costs that are off by more than this factor are measured anew."""
_CHECKED: tuple[tuple[Kind, int], ...] = (("target", 1), ("draft", 1), ("target", 8))
_CHECK_S = 0.03
"""About so long each of them is repeated."""
TOKEN = 1
"""Any token costs the same."""


def find_costs(
    contexts: dict[Kind, Context], facts: Facts, *, anew: bool, in_a_row: bool = False
) -> tuple[CostModel, str]:
    """Return the costs under these facts and a note on how they came about ("" where there is nothing to say).

    ``contexts`` are the target's and, where there is a draft model, the draft's. Their KV caches must be empty, and are
    empty again afterwards. ``anew`` measures even where the cache has the costs.
    ``in_a_row`` is for a GPU, see `calibrate`.

    Kept costs are used if they still hold (`still_hold`). What is measured while the machine is busy is not kept, and
    kept costs that are lower are preferred to it: what disturbs only adds time.
    """
    folder = default_folder()
    if in_a_row:
        facts = {**facts, "in_a_row": True}  # costs measured otherwise are of changing shapes
    cached = Cached() if anew else load_costs(folder, facts)
    if cached.costs is not None and still_hold(cached.costs, contexts):
        return cached.costs, ""
    costs = measure_costs(contexts, in_a_row=in_a_row)
    if busy := if_busy(costs.scatter, MEASURED_STEPS):
        kept = f"{busy} Speeds that are predicted here may be wrong; the next load measures again."
        if cached.costs is not None and cached.costs.target(1) < costs.target(1):
            cached.costs.scatter, costs = costs.scatter, cached.costs
    elif len(costs.target.points) < ENOUGH_POINTS:
        kept = "The machine was too busy to measure what a step costs; the next load measures again."
    else:
        kept = save_costs(folder, facts, costs)
    return costs, " ".join(part for part in (cached.note, kept) if part)


def still_hold(costs: CostModel, contexts: dict[Kind, Context]) -> bool:
    """Whether a few decodes take what these costs say, within `MAX_OFF` either way; some 0.1 s on 2 cores.

    The fastest decode counts, and all have the same shape: both hold on a busy machine and on a GPU alike.
    """
    for kind, num_tokens in _CHECKED:
        curve = costs.target if kind == "target" else costs.draft
        if curve is None or num_tokens not in curve.points:
            continue
        expected, context = curve.points[num_tokens], contexts[kind]
        batch, times = context.new_batch(), []
        for _ in range(2 + min(STEPS_TO_RECORD + 1, int(_CHECK_S / expected))):
            begin = time.perf_counter()
            _decode(context, batch, 0, num_tokens, num_sequences=1, outputs=num_tokens)
            times.append(time.perf_counter() - begin)
            context.remove(0, 0)
        if not 1 / MAX_OFF < min(times) / expected < MAX_OFF:
            return False
    return True


def measure_costs(contexts: dict[Kind, Context], *, in_a_row: bool = False) -> CostModel:
    """Measure decodes of several sizes, after `DEPTH` tokens of context, as a verification pays for them."""
    # Recurrent memory cannot be cut back to its first tokens: they are copied from a slot that keeps them.
    originals = {
        kind: context.n_seq_max - 1 if context.max_rollback != UNLIMITED else None for kind, context in contexts.items()
    }
    batches = {kind: context.new_batch() for kind, context in contexts.items()}
    depths = {
        kind: min(DEPTH, context.n_ctx // 4, context.max_position // 2, context.n_batch)
        for kind, context in contexts.items()
    }
    for kind, context in contexts.items():
        _decode(context, batches[kind], 0, depths[kind], num_sequences=1, outputs=0)
        for slot in {*range(1, min(8, context.n_seq_max)), originals[kind] or 0} - {0}:
            context.copy(0, slot, 0, depths[kind])

    def measure(kind: Kind, num_tokens: int, num_sequences: int) -> float:
        context, depth, original = contexts[kind], depths[kind], originals[kind]
        if num_sequences > context.n_seq_max - (original is not None):
            num_sequences = 1  # too few slots to tell what a further sequence adds: then it adds nothing
        seconds = 0.0
        outputs = num_tokens if num_tokens < CATCH_UP else 1  # catching up needs one row of logits
        for _ in range(1 if in_a_row else 1 + context.steps_until_usual):
            begin = time.perf_counter()
            _decode(context, batches[kind], depth, num_tokens, num_sequences=num_sequences, outputs=outputs)
            seconds = time.perf_counter() - begin
            for slot in range(num_sequences):
                context.remove(slot, depth if original is None else 0)
                if original is not None:
                    context.copy(original, slot, 0, depth)
        return seconds

    room = min(min(context.n_batch, context.n_ctx // 2, context.max_position // 2) for context in contexts.values())
    try:
        return calibrate(
            measure, time.perf_counter, has_draft="draft" in contexts, max_tokens=min(CATCH_UP, room), in_a_row=in_a_row
        )
    finally:
        for context in contexts.values():
            for slot in range(context.n_seq_max):
                context.remove(slot, 0)


def _decode(
    context: Context, batch: Batch, position: int, num_tokens: int, *, num_sequences: int, outputs: int
) -> None:
    batch.clear()
    share = num_tokens // num_sequences
    for slot in range(num_sequences):
        batch.add([TOKEN] * share, position, slot, min(outputs, share))
    logits = context.decode(batch)
    if len(logits):
        logits.argmax(axis=1)  # what a step does with its rows grows with their number, too
