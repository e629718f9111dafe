"""T(n): what one decode of n tokens takes, as the engine's rounds pay for it."""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterable
from contextlib import closing
from dataclasses import replace

from exsa_lab.config import EngineConfig
from exsa_lab.runtime.protocol import Context, Model
from exsa_lab.runtime.steady import STEPS_TO_RECORD

DEPTH = 128
"""Tokens of context the decodes attend to."""
SAMPLES = 7
_TOKEN = 1
"""Any token costs the same."""


def step_times(model: Model, config: EngineConfig, n_threads: int, sizes: Iterable[int]) -> dict[int, float]:
    """Return the median seconds of a decode of each number of tokens, all of them with logits.

    A context of its own is opened for it, with the plan's settings. A GPU replays a batch's kernels once the shape
    has been seen a few times: those first decodes do not count.
    """
    small = replace(config, n_ctx=512, n_seq_max=1)
    with closing(model.open_context(small, n_threads)) as context:
        _decode(context, 0, DEPTH, outputs=0)
        return {size: _median_seconds(context, size) for size in sizes}


def _median_seconds(context: Context, size: int) -> float:
    times = []
    for _ in range(STEPS_TO_RECORD + SAMPLES):
        begin = time.perf_counter()
        _decode(context, DEPTH, size, outputs=size)
        times.append(time.perf_counter() - begin)
        context.remove(0, DEPTH)
    return statistics.median(times[STEPS_TO_RECORD:])


def _decode(context: Context, position: int, num_tokens: int, *, outputs: int) -> None:
    batch = context.new_batch()
    batch.add([_TOKEN] * num_tokens, position, 0, outputs)
    context.decode(batch)
