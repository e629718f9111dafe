"""How fast an opened context computes: prompts, one sequence, and many together."""

from __future__ import annotations

import time

from exsa_lab.runtime.protocol import Context

PROMPT = 256
"""Tokens of the prompt, and the context that the other measurements continue."""
STEPS = 8
_TOKEN = 1
"""Which token is computed makes no difference to the time."""


def prepare(context: Context) -> None:
    """Compute the prompt once, which warms up, and share it with every slot."""
    prompt_seconds(context)


def prompt_seconds(context: Context, tokens: int = PROMPT) -> float:
    """Seconds to compute a prompt from nothing; afterwards every slot holds its first `PROMPT` tokens."""
    for slot in range(context.n_seq_max):
        context.remove(slot, 0)
    begin = time.perf_counter()
    for start in range(0, tokens, context.n_batch):
        count = min(context.n_batch, tokens - start)
        _decode(context, start, count, 1, outputs=int(start + count == tokens))
    seconds = time.perf_counter() - begin
    context.remove(0, min(PROMPT, tokens))
    for slot in range(1, context.n_seq_max):
        context.copy(0, slot, 0, PROMPT)
    return seconds


def step_seconds(context: Context, sequences: int) -> float:
    """Seconds for one token of each of so many sequences, after the prompt; the mean of `STEPS` steps."""
    begin = time.perf_counter()
    for step in range(STEPS):
        _decode(context, PROMPT + step, 1, sequences, outputs=1)
    seconds = time.perf_counter() - begin
    for slot in range(sequences):
        context.remove(slot, PROMPT)
    return seconds / STEPS


def _decode(context: Context, position: int, tokens: int, sequences: int, *, outputs: int) -> None:
    batch = context.new_batch()
    for slot in range(sequences):
        batch.add([_TOKEN] * tokens, position, slot, outputs)
    context.decode(batch)
