"""How many threads decode fastest, measured where the machine's counts leave it open, once for each model file.

Hyper-threads and a container's quota make the best number a matter of trying (`Hardware.thread_counts`). Elsewhere
nothing is measured.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, closing
from pathlib import Path

from exsa_lab.config import EngineConfig
from exsa_lab.costs.cache import Facts, default_folder, load_costs, save_costs
from exsa_lab.costs.model import CostModel
from exsa_lab.hardware import Hardware
from exsa_lab.runtime.protocol import Context
from exsa_lab.scatter import if_busy, typical_delay

TOKENS = (1, 16)
"""Sizes of the timed decodes: a lone request, and a full step or a piece of a prompt."""
ROUNDS = 5
DEADLINE_S = 1.0
"""After this no further round begins."""
MIN_GAIN = 1.05
"""The likeliest count is kept unless another is this much faster."""
CHEAP_BYTES = 1 << 30
"""Above this size of the file a measurement would take longer than it is worth."""

Times = Mapping[int, Mapping[int, float]]
"""Seconds per decode, by number of threads, then by number of tokens."""
Measured = tuple[Times, float]
"""The fastest times, and how far repeats differed as a share."""


def is_open(hardware: Hardware, file_bytes: int) -> bool:
    """Whether a measurement is needed, and cheap: several counts are likely, no GPU computes, the file is small."""
    uses_gpu = hardware.can_offload and bool(hardware.gpus)
    fits = not hardware.available_memory or 2 * file_bytes < hardware.available_memory
    return len(hardware.thread_counts) > 1 and not uses_gpu and file_bytes <= CHEAP_BYTES and fits


def best_threads(
    counts: Sequence[int],
    facts: Facts,
    measure: Callable[[Sequence[int]], Measured],
    *,
    anew: bool = False,
    folder: Path | None = None,
) -> int:
    """Return the fastest of ``counts``: from the cost cache where all were measured before, else by ``measure``.

    ``facts`` are what the times depend on beside the number of threads; ``anew`` measures in any case, as
    `EngineConfig.recalibrate` asks for. What is measured on a busy machine is used and not kept.
    """
    folder = default_folder() if folder is None else folder
    known = {count: load_costs(folder, _facts(facts, count)).costs for count in counts}
    times: Times = {count: costs.target.points for count, costs in known.items() if costs is not None}
    times = {count: points for count, points in times.items() if set(TOKENS) <= points.keys()}
    if anew or len(times) < len(counts):
        times, scatter = measure(counts)
        for count, points in times.items() if not if_busy(scatter) else ():
            save_costs(folder, _facts(facts, count), CostModel.from_measurements(points))
    return fastest(times)


def fastest(times: Times) -> int:
    """Return the count with the least product of times, the first one unless another clearly beats it."""
    products = {count: math.prod(points[n] for n in TOKENS) for count, points in times.items()}
    first, best = next(iter(products)), min(products, key=lambda count: products[count])
    return best if products[first] > MIN_GAIN ** len(TOKENS) * products[best] else first


def measure_threads(path: Path, counts: Sequence[int]) -> Measured:
    """Time decodes with each number of threads, in turns; each keeps its fastest times.

    Raises what opening a model raises.
    """
    from exsa_lab.runtime.model import LlamaModel

    config = EngineConfig(n_ctx=256, n_seq_max=1, n_batch=32, n_ubatch=32, n_gpu_layers=0)
    with ExitStack() as stack:
        model = stack.enter_context(closing(LlamaModel(path, config)))
        contexts = {count: stack.enter_context(closing(model.open_context(config, count))) for count in counts}
        return take_turns(contexts, time.perf_counter)


def take_turns(contexts: Mapping[int, Context], clock: Callable[[], float]) -> Measured:
    """Time every context with every size, again and again until the deadline; a round before that warms up."""
    repeats: dict[int, dict[int, list[float]]] = {count: {tokens: [] for tokens in TOKENS} for count in contexts}
    end = clock() + DEADLINE_S
    for number in range(1 + ROUNDS):
        if number > 1 and clock() > end:
            break
        for count, context in contexts.items():
            for tokens in TOKENS:
                seconds = _decode_seconds(context, tokens, clock)
                if number:
                    repeats[count][tokens].append(seconds)
    times = {count: {tokens: min(found) for tokens, found in own.items()} for count, own in repeats.items()}
    return times, typical_delay(found for own in repeats.values() for found in own.values())


def _decode_seconds(context: Context, tokens: int, clock: Callable[[], float]) -> float:
    batch = context.new_batch()
    batch.add([1] * tokens, 0, 0, 1)
    begin = clock()
    context.decode(batch)
    seconds = clock() - begin
    context.remove(0, 0)
    return seconds


def _facts(facts: Facts, count: int) -> Facts:
    return {**facts, "n_threads": count, "purpose": "threads"}
