"""Whether speculation or company changes greedy output, token for token, and how sure the target was where it does.

llama.cpp's attention on CPU adds in an order, and by a kernel, that depend on three things besides the sequence:
whether the step has 64 tokens or more (another kernel), whether a single token attends to 512 cells or more (split over
threads), and whether a sequence's cells lie in order in the cache. Two nearly equal logits may then change places.
The plan for a CPU avoids the first, the engine the third as long as slots and cells last; ``reproducible=True`` avoids
all three always. The last rows tell what it costs. What is compared with comes from the bare loop, which shares no code
with the engine.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from exsa_lab.bench.baselines.bare import BareLoop, BareRun
from exsa_lab.bench.report import Check, Report
from exsa_lab.bench.setting import Options, Subject, chat_tokens, subjects
from exsa_lab.bench.varied import VARIED
from exsa_lab.engine.engine import Engine

WANTED_SHARE = 0.9
"""45 of 50."""

ALONE: dict[str, int] = {"n_seq_max": 1}
"""One slot: the cache is as small as the sequence, and its cells lie in order."""
CROWDS: dict[str, dict[str, Any]] = {
    "plain, all at once": {},
    "plain, all at once, reproducible=True": {"reproducible": True},
}


@dataclass(frozen=True, slots=True)
class Divergence:
    """Where an output first differs from the plain one."""

    prompt: int
    """Index in `VARIED`."""
    position: int
    """Index in the generated tokens."""
    margin: float
    """The plain run's best logit there minus its second best."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--prompts", type=int, help="how many of the fifty prompts (default: all)")
    parser.add_argument("--tokens", type=int, help="tokens per prompt (default: 128)")


def run(options: Options) -> Report:
    """Compare every draft length, the automatic choice and full batches with the plain loop."""
    prompts = VARIED[: options.given.prompts or options.pick(50, 3)]
    tokens = options.given.tokens or options.pick(128, 24)
    report = Report("equivalence", {"model": options.model, "prompts": len(prompts), "tokens": tokens})
    for subject in subjects(options):
        _measure(subject, options, prompts, tokens, report)
    return report


def _measure(subject: Subject, options: Options, prompts: tuple[str, ...], tokens: int, report: Report) -> None:
    table = report.table(subject.name, "setting", "equal", "diverged", "prompt@position (top-2 margin)")
    expected: list[BareRun] = []

    def tell(name: str, outputs: list[list[int]]) -> None:
        found = list(divergences(expected, outputs))
        places = ", ".join(f"{one.prompt}@{one.position} ({one.margin:.3f})" for one in found)
        table.add(name, len(prompts) - len(found), len(found), places)
        share = 1 - len(found) / len(prompts)
        report.checks.append(Check(f"{subject.name}: equal outputs, {name}", share, WANTED_SHARE))

    with subject.open_engine(**ALONE) as engine:
        expected = _expected(subject, engine, options, prompts, tokens)
        for name, params in _settings(options).items():
            options.progress(f"{subject.name}: {name}")
            tell(name, [engine.generate(prompt, max_tokens=tokens, **params).tokens for prompt in prompts])
    for name, config in CROWDS.items():
        options.progress(f"{subject.name}: {name}")
        with subject.open_engine(**config) as engine:
            begin = time.perf_counter()
            outputs = all_at_once(engine, prompts, tokens)
            seconds = time.perf_counter() - begin
            tell(f"{name} ({seconds:.1f} s)", outputs)


def _expected(
    subject: Subject, engine: Engine, options: Options, prompts: tuple[str, ...], tokens: int
) -> list[BareRun]:
    runs = []
    with BareLoop(subject.path, subject.config, subject.n_threads) as loop:
        for number, prompt in enumerate(prompts):
            options.progress(f"{subject.name}: plain loop, prompt {number} of {len(prompts)}")
            runs.append(loop.generate(chat_tokens(engine, prompt), tokens, with_margins=True))
    return runs


def _settings(options: Options) -> dict[str, dict[str, Any]]:
    lengths = range(3, 4) if options.quick else range(1, 7)
    settings: dict[str, dict[str, Any]] = {f"model, k={k}": {"drafter": "model", "draft_length": k} for k in lengths}
    return {"plain": {"draft_length": 0}, **settings, "ngram, k=8": {"drafter": "ngram", "draft_length": 8}, "auto": {}}


def all_at_once(engine: Engine, prompts: Iterable[str], tokens: int) -> list[list[int]]:
    """Generate for all prompts in one batch, without drafts."""
    generations = [engine.submit(prompt, max_tokens=tokens, draft_length=0) for prompt in prompts]
    return [generation.tokens for generation in generations if generation.result() is not None]


def divergences(expected: Iterable[BareRun], outputs: Iterable[list[int]]) -> Iterable[Divergence]:
    """Yield the first difference of each output that is not the expected one."""
    for number, (run, tokens) in enumerate(zip(expected, outputs, strict=True)):
        if tokens == run.tokens:
            continue
        position = next((i for i, pair in enumerate(zip(run.tokens, tokens, strict=False)) if pair[0] != pair[1]), None)
        if position is None:  # one is the beginning of the other
            position = min(len(run.tokens), len(tokens)) - 1
        yield Divergence(number, position, run.margins[position])
