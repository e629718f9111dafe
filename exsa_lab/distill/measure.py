"""What a draft is worth to a target: how often it guesses the target's text, and what its step costs.

`exsa_lab.bench.acceptance` says why one look at a written text is enough for every draft length.
"""

from __future__ import annotations

import random
import statistics
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from exsa_lab.config import EngineConfig
from exsa_lab.engine.engine import Engine
from exsa_lab.runtime.model import LlamaModel
from exsa_lab.runtime.protocol import Context, Logits

_ROWS = 64
"""Rows of logits one decode may give."""


@dataclass(frozen=True, slots=True)
class Written:
    """A prompt and what the target wrote, as tokens."""

    prompt: list[int]
    answer: list[int]


@dataclass(frozen=True, slots=True)
class Agreement:
    """For each text and each of its places, whether a draft's token was accepted there."""

    accepted: list[list[bool]]

    def rounds(self, length: int) -> list[tuple[int, int]]:
        """Return (drafted, accepted) of every round at a draft length, over all texts.

        As in the engine, a round commits the accepted tokens and one more; the last one drafts no further than the
        text goes.
        """
        found = []
        for places in self.accepted:
            start = 0
            while start < len(places):
                draft = places[start : start + length]
                run = next((i for i, accepted in enumerate(draft) if not accepted), len(draft))
                found.append((len(draft), run))
                start += run + 1
        return found

    def first(self, length: int) -> float:
        """Return the share of rounds whose first draft token is accepted."""
        return self.by_position(length)[0]

    def by_position(self, length: int) -> list[float]:
        """Return the share of rounds that accept the first, the second, ... draft token."""
        runs = [run for _, run in self.rounds(length)]
        return [sum(run > i for run in runs) / max(1, len(runs)) for i in range(length)]

    def tokens_per_round(self, length: int) -> float:
        """Return how many tokens a round commits, whole rounds only: those that could draft ``length`` tokens."""
        runs = [run + 1 for drafted, run in self.rounds(length) if drafted == length]
        return statistics.fmean(runs) if runs else 0.0


def agreement(
    target: Path, draft: Path, texts: Sequence[Written], temperature: float, n_threads: int
) -> list[list[bool]]:
    """Return where the draft's tokens would be accepted in what the target wrote at this temperature.

    At a temperature of 0 the target itself is not asked again: its text says what it chose.
    """
    config = EngineConfig(n_ctx=4096, n_seq_max=1)
    if temperature == 0:
        return [
            [bool(token == best) for token, best in zip(text.answer, rows, strict=True)]
            for text, rows in zip(texts, _best(draft, texts, config, n_threads), strict=True)
        ]
    p = _probabilities(target, texts, temperature, config, n_threads)
    q = _probabilities(draft, texts, temperature, config, n_threads)
    chance = random.Random(0)
    return [
        [chance.random() * theirs < ours for ours, theirs in zip(draft_row, target_row, strict=True)]
        for target_row, draft_row in zip(p, q, strict=True)
    ]


def draft_step_seconds(draft: Path, n_threads: int) -> float:
    """Return the median time of one step of a draft, in seconds."""
    return step_seconds(draft, n_threads, [1])[0]


def step_seconds(path: Path, n_threads: int, sizes: Sequence[int], repeats: int = 30) -> list[float]:
    """Return the median time of decoding each number of tokens after 128 others, in seconds."""
    config = EngineConfig(n_ctx=512, n_seq_max=1)
    model = LlamaModel(path, config)
    times: list[list[float]] = [[] for _ in sizes]
    try:
        context = model.open_context(config, n_threads)
        batch = context.new_batch()
        batch.add([i % model.vocab_size for i in range(128)], 0, 0, 1)
        context.decode(batch)
        for _ in range(repeats):
            for own, size in zip(times, sizes, strict=True):
                batch.clear()
                batch.add([1] * size, 128, 0, size)
                start = time.perf_counter()
                context.decode(batch)
                own.append(time.perf_counter() - start)
                context.remove(0, 128)
        context.close()
    finally:
        model.close()
    return [statistics.median(own) for own in times]


def answers(engine: Engine, prompts: Sequence[str], tokens: int, temperature: float) -> list[Written]:
    """Let the target answer all prompts at once, without any draft, from its whole distribution."""
    generations = [
        engine.submit(
            prompt,
            max_tokens=tokens,
            temperature=temperature,
            seed=number,
            draft_length=0,
            top_k=0,
            top_p=1.0,
            min_p=0.0,
        )
        for number, prompt in enumerate(prompts)
    ]
    for generation in generations:
        generation.result()
    return [Written(list(generation.prompt_ids), list(generation.tokens)) for generation in generations]


def _best(path: Path, texts: Sequence[Written], config: EngineConfig, n_threads: int) -> Iterable[NDArray[np.int64]]:
    for text, rows in _logits(path, texts, config, n_threads):
        yield np.concatenate([row.argmax(axis=1) for row in rows]) if text.answer else np.empty(0, np.int64)


def _probabilities(
    path: Path, texts: Sequence[Written], temperature: float, config: EngineConfig, n_threads: int
) -> list[list[float]]:
    """Return the probability of each written token, text by text."""
    found = []
    for text, chunks in _logits(path, texts, config, n_threads):
        place, own = 0, []
        for rows in chunks:
            scaled = rows.astype(np.float64) / temperature
            scaled -= scaled.max(axis=1, keepdims=True)
            chosen = scaled[np.arange(len(rows)), text.answer[place : place + len(rows)]]
            own += np.exp(chosen - np.log(np.exp(scaled).sum(axis=1))).tolist()
            place += len(rows)
        found.append(own)
    return found


def _logits(
    path: Path, texts: Sequence[Written], config: EngineConfig, n_threads: int
) -> Iterable[tuple[Written, Iterable[Logits]]]:
    """Yield each text with the logits that predict its answer, in chunks valid until the next one."""
    model = LlamaModel(path, config)
    try:
        context = model.open_context(config, n_threads)
        for text in texts:
            context.remove(0, 0)
            yield text, _predictions(context, text)
        context.close()
    finally:
        model.close()


def _predictions(context: Context, text: Written) -> Iterable[Logits]:
    batch = context.new_batch()
    head, tail = text.prompt[:-1], (text.prompt[-1:] + text.answer)[: len(text.answer)]
    for start in range(0, len(head), context.n_batch):
        batch.clear()
        batch.add(head[start : start + context.n_batch], start, 0, 0)
        context.decode(batch)
    for start in range(0, len(tail), _ROWS):
        batch.clear()
        batch.add(tail[start : start + _ROWS], len(head) + start, 0, len(tail[start : start + _ROWS]))
        yield context.decode(batch)
