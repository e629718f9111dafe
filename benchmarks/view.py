"""What watching costs one request: a notebook cell under the live strip against the same cell without a view."""

from __future__ import annotations

import argparse
from functools import partial

from benchmarks.kernel import Kernel, need_jupyter
from exsa_lab.bench.decode import PROMPT
from exsa_lab.bench.measure import interleaved, middle, ratio
from exsa_lab.bench.report import Check, Report
from exsa_lab.bench.setting import Options, Subject, subjects

VIEWS = ("tokens", "none")
WANTED = 0.97


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--tokens", type=int, help="tokens per run (default: 128)")


def check(options: Options) -> None:
    """Raise ExsaError where no kernel can be started."""
    need_jupyter()


def run(options: Options) -> Report:
    """Measure plain decoding in cells of a real kernel, whose every message is received here."""
    max_tokens = options.given.tokens or options.pick(128, 24)
    report = Report("view", {"model": options.model, "tokens": max_tokens, "rounds": options.repeats})
    for subject in subjects(options):
        _measure(subject, options, max_tokens, report)
    return report


def _measure(subject: Subject, options: Options, max_tokens: int, report: Report) -> None:
    with Kernel() as kernel:
        draft = str(subject.draft) if subject.draft else None
        kernel.run(
            f"import exsa_lab as xl\n%load_ext exsa_lab\n"
            f"engine = xl.load({str(subject.path)!r}, draft={draft!r}, n_threads={subject.n_threads}, isolate=False)"
        )

        def cell(view: str, _round: int) -> float:
            kernel.run(f"%%exsa --view {view} --max-tokens {max_tokens} --draft-length 0\n{PROMPT}")
            return float(kernel.evaluate("_exsa.stats.tokens_per_second"))

        runs = {f"%%exsa --view {view}": partial(cell, view) for view in VIEWS}
        speeds = interleaved(runs, options.repeats, progress=options.progress)
    strip, none = runs
    table = report.table(subject.name, "cell", "tok/s", f"against {none}")
    for name, values in speeds.items():
        table.add(name, middle(values), ratio(values, speeds[none]))
    value = ratio(speeds[strip], speeds[none]).median
    report.checks.append(Check(f"{subject.name}: {strip} / {none}", value, WANTED))
