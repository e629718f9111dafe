"""Whether speculation changes greedy output, token for token, and how sure the target was where it does.

A decode of several tokens rounds differently from one of a single token, so two nearly equal logits may change
places. What is compared with comes from the bare loop, which shares no code with the engine.
"""

from __future__ import annotations

import argparse
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
ALL_AT_ONCE = "plain, all at once"


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
    """Compare draft lengths 1 to 6, the automatic choice and a full batch with the plain loop."""
    prompts = VARIED[: options.given.prompts or options.pick(50, 3)]
    tokens = options.given.tokens or options.pick(128, 24)
    report = Report("equivalence", {"model": options.model, "prompts": len(prompts), "tokens": tokens})
    for subject in subjects(options):
        _measure(subject, options, prompts, tokens, report)
    return report


def _measure(subject: Subject, options: Options, prompts: tuple[str, ...], tokens: int, report: Report) -> None:
    with subject.open_engine() as engine:
        expected = _expected(subject, engine, options, prompts, tokens)
        table = report.table(subject.name, "setting", "equal", "diverged", "prompt@position (top-2 margin)")
        for name, params in _settings(options).items():
            options.progress(f"{subject.name}: {name}")
            texts = _generate(engine, prompts, tokens, params, at_once=name == ALL_AT_ONCE)
            found = list(divergences(expected, texts))
            places = ", ".join(f"{one.prompt}@{one.position} ({one.margin:.3f})" for one in found)
            table.add(name, len(prompts) - len(found), len(found), places)
            share = 1 - len(found) / len(prompts)
            report.checks.append(Check(f"{subject.name}: equal outputs, {name}", share, WANTED_SHARE))


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
    lengths = options.pick(range(1, 7), (3,))
    settings: dict[str, dict[str, Any]] = {f"model, k={k}": {"drafter": "model", "draft_length": k} for k in lengths}
    return {
        **settings,
        "ngram, k=8": {"drafter": "ngram", "draft_length": 8},
        "auto": {},
        ALL_AT_ONCE: {"draft_length": 0},
    }


def _generate(
    engine: Engine, prompts: Iterable[str], tokens: int, params: dict[str, Any], *, at_once: bool
) -> list[list[int]]:
    if at_once:
        generations = [engine.submit(prompt, max_tokens=tokens, **params) for prompt in prompts]
        return [generation.tokens for generation in generations if generation.result() is not None]
    return [engine.generate(prompt, max_tokens=tokens, **params).tokens for prompt in prompts]


def divergences(expected: Iterable[BareRun], outputs: Iterable[list[int]]) -> Iterable[Divergence]:
    """Yield the first difference of each output that is not the expected one."""
    for number, (run, tokens) in enumerate(zip(expected, outputs, strict=True)):
        if tokens == run.tokens:
            continue
        position = next((i for i, pair in enumerate(zip(run.tokens, tokens, strict=False)) if pair[0] != pair[1]), None)
        if position is None:  # one is the beginning of the other
            position = min(len(run.tokens), len(tokens)) - 1
        yield Divergence(number, position, run.margins[position])
