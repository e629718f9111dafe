"""How much sooner a prompt starts to be answered when the engine has seen its beginning before."""

from __future__ import annotations

import argparse

from exsa_lab.bench.measure import median, middle, ratio
from exsa_lab.bench.report import Check, Report
from exsa_lab.bench.setting import Options, Subject, subjects
from exsa_lab.bench.text import long_text

WANTED = 8.0
QUESTIONS = ("What is this text about?", "How many people are named in it?")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--prefix-tokens", type=int, help="length of what both prompts share (default: 1000)")


def run(options: Options) -> Report:
    """Measure time to first token of two questions about one document, a new document each round."""
    length = options.given.prefix_tokens or options.pick(1000, 200)
    report = Report("prefix", {"model": options.model, "shared tokens": length, "rounds": options.repeats})
    for subject in subjects(options):
        _measure(subject, options, length, report)
    return report


def _measure(subject: Subject, options: Options, length: int, report: Report) -> None:
    first, second, cached = [], [], []
    with subject.open_engine() as engine:
        for number in range(options.repeats + 1):
            options.progress(f"document {number} of {options.repeats}")
            # The number comes first, so that documents share nothing with each other.
            text = long_text(engine, length, opening=f"{number}. document")
            before, after = (
                engine.generate(f"{text}\n\n{question}", max_tokens=2, draft_length=0, chat=False).stats
                for question in QUESTIONS
            )
            if number:  # the document numbered 0 warms up
                first.append(before.ttft_s)
                second.append(after.ttft_s)
                cached.append(after.cached_prompt_tokens)
    sooner = ratio(first, second)
    table = report.table(subject.name, "request", "time to first token, ms", "sooner", "tokens from the cache")
    table.add("first", middle(first, 1000), None, 0)
    table.add("second, same beginning", middle(second, 1000), sooner, int(median(cached)))
    report.checks.append(Check(f"{subject.name}: time to first token, first / second", sooner.median, WANTED))
