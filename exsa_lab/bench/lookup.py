"""What "auto" makes of lookup, and how much any policy could: counted at the measured costs, not timed.

The texts are those of `speculation`, each written once by plain greedy decoding. What a looked-up draft would have
been worth at any place of them is then known. So the steps of "auto", of every fixed length, and of somebody who
knows beforehand what will be accepted can be counted, and priced at what verifying so many tokens costs here: the
middle of several measurements, a few seconds apart. That has the luck of the texts and of the hour, but none of the
noise within it.
"""

from __future__ import annotations

import argparse

from exsa_lab.bench.counted import (
    Texts,
    automatic_seconds,
    fixed_seconds,
    perfect_seconds,
    plain_seconds_at_once,
    typical_costs,
)
from exsa_lab.bench.report import Check, Report
from exsa_lab.bench.setting import Options, subjects
from exsa_lab.bench.speculation import WANTED_OF_BEST_FIXED, WANTED_OVER_PLAIN
from exsa_lab.bench.workloads import N_TEXTS, WORKLOADS, chosen_workloads
from exsa_lab.costs.model import CostModel
from exsa_lab.engine.engine import Engine
from exsa_lab.errors import ConfigError
from exsa_lab.trace.trace import Trace

WEIGHTS = ("as-shipped", "Q8_0")
FIXED_LENGTHS = (2, 4, 7, 8, 11, 15, 16)
LEAST_MEASUREMENTS = 3
SHOWN = (2, 4, 8, 12, 16, 32)
"""Tokens in a step whose cost is shown."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--workloads", help=f"some of {','.join(WORKLOADS)} (default: all)")
    parser.add_argument("--tokens", type=int, help="tokens per text (default: 128)")


def run(options: Options) -> Report:
    """Write every text once, then count."""
    kinds = chosen_workloads(options)
    tokens = options.given.tokens or options.pick(128, 16)
    report = Report("lookup", {"model": options.model, "tokens": tokens})
    for subject in subjects(options, prefix_cache_tokens=0, recalibrate=True):
        texts: Texts = {}
        measured: list[CostModel] = []
        # An engine for each kind, and more for few kinds: each measures the costs as it loads, at another moment.
        for kind in [*kinds, *[None] * (LEAST_MEASUREMENTS - len(kinds))]:
            with subject.open_engine() as engine:
                measured.append(_measured(engine))
                if kind:
                    texts[kind] = _write(engine, kind, tokens, options)
        costs = typical_costs(measured)
        _tabulate_costs(subject.name, costs, measured, report)
        _tabulate(subject.name, texts, costs, report)
        _tabulate_at_once(subject.name, texts, costs, report)
    return report


def _measured(engine: Engine) -> CostModel:
    """The costs as they were measured at load, without what steps teach later."""
    costs = engine.costs
    if costs is None or costs.has_costly_shapes:
        raise ConfigError(
            "steps are priced by the number of their tokens, and that is not what they cost here.",
            hint="Run this without --device gpu, or `bench speculation`, which measures.",
        )
    return CostModel.from_measurements(
        costs.target.points,
        seconds_per_sequence=costs.seconds_per_sequence,
        switch_seconds={"target": costs.return_seconds},
    )


def _write(engine: Engine, kind: str, tokens: int, options: Options) -> list[Trace]:
    prompts = WORKLOADS[kind]
    traces = []
    for number, prompt in enumerate(prompts, start=1):
        options.progress(f"writing {kind}, {number} of {len(prompts)}")
        traces.append(engine.generate(prompt, max_tokens=tokens, temperature=0, draft_length=0).trace)
    return traces


def _tabulate_costs(name: str, costs: CostModel, measured: list[CostModel], report: Report) -> None:
    table = report.table(f"{name}, what a step costs", "tokens", "single-token steps", "lowest", "highest")
    for tokens in SHOWN:
        found = [one.target(tokens) / one.target(1) for one in measured]
        table.add(tokens, costs.target(tokens) / costs.target(1), min(found), max(found))


def _tabulate(name: str, texts: Texts, costs: CostModel, report: Report) -> None:
    table = report.table(
        f"{name}, counted", "kind of text", "auto / plain", "best fixed length", "best fixed / plain", "perfect / plain"
    )
    seconds = automatic_seconds(texts, costs)
    for kind, traces in texts.items():
        plain = fixed_seconds(traces, costs, 0)
        fixed = {length: fixed_seconds(traces, costs, length) for length in FIXED_LENGTHS}
        best = min(fixed, key=lambda length: fixed[length])
        perfect = sum(perfect_seconds(trace, costs) for trace in traces)
        table.add(kind, plain / seconds[kind], best, plain / fixed[best], plain / perfect)
        report.checks.append(Check(f"{name}, {kind}: auto / plain", plain / seconds[kind], WANTED_OVER_PLAIN))
        of_best = min(plain, fixed[best]) / seconds[kind]
        report.checks.append(Check(f"{name}, {kind}: auto / best fixed", of_best, WANTED_OF_BEST_FIXED))


def _tabulate_at_once(name: str, texts: Texts, costs: CostModel, report: Report) -> None:
    title = f"{name}, {N_TEXTS} at once, counted"
    table = report.table(title, "kind of text", "auto / plain")
    seconds = automatic_seconds(texts, costs, at_once=N_TEXTS)
    for kind, traces in texts.items():
        gain = plain_seconds_at_once(traces, costs) / seconds[kind]
        table.add(kind, gain)
        report.checks.append(Check(f"{title}, {kind}: auto / plain", gain, WANTED_OVER_PLAIN))
