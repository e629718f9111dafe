"""How fast an opened context computes: prompts, one sequence, and many together."""

from __future__ import annotations

import time
from collections.abc import Iterable

from exsa_lab.runtime.protocol import UNLIMITED, Context

PROMPT = 256
"""Tokens of the prompt."""
CONTEXT = 32
"""Tokens of its own that each sequence has before its steps are measured. Sequences that shared them would measure
another thing: attention over a few cells, where real requests have many between them."""
STEPS = 8
_TOKEN = 1
"""Which token is computed makes no difference to the time."""


def prepare(context: Context, sequences: int) -> None:
    """Empty the cache and give so many sequences a context of their own, which warms up too."""
    for slot in range(context.n_seq_max):
        context.remove(slot, 0)
    if sequences:
        _decode(context, 0, CONTEXT, range(sequences), outputs=0)


def prompt_seconds(context: Context, tokens: int = PROMPT) -> float:
    """Seconds to compute a prompt from nothing; the cache is emptied before."""
    prepare(context, 0)
    begin = time.perf_counter()
    for start in range(0, tokens, context.n_batch):
        count = min(context.n_batch, tokens - start)
        _decode(context, start, count, [0], outputs=int(start + count == tokens))
    return time.perf_counter() - begin


def step_seconds(context: Context, sequences: int) -> float:
    """Seconds for one token of each of so many sequences that were prepared; the mean of `STEPS` steps."""
    slots = range(sequences)
    begin = time.perf_counter()
    for step in range(STEPS):
        _decode(context, CONTEXT + step, 1, slots, outputs=1)
    seconds = time.perf_counter() - begin
    if context.max_rollback == UNLIMITED:
        for slot in slots:
            context.remove(slot, CONTEXT)
    else:  # recurrent memory goes back to nothing, and not to a position
        prepare(context, sequences)
    return seconds / STEPS


def _decode(context: Context, position: int, tokens: int, slots: Iterable[int], *, outputs: int) -> None:
    batch = context.new_batch()
    for slot in slots:
        batch.add([_TOKEN] * tokens, position, slot, outputs)
    context.decode(batch)
