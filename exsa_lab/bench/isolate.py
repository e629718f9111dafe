"""What it costs to keep the engine in a process of its own: tokens per second against one in this process, in turns."""

from __future__ import annotations

import argparse
import time
from contextlib import ExitStack
from functools import partial

from exsa_lab.bench.measure import interleaved, middle, ratio
from exsa_lab.bench.report import Check, Report
from exsa_lab.bench.setting import Options, Subject, subjects
from exsa_lab.bench.workloads import short_prompts
from exsa_lab.engine.engine import Engine

WANTED = 0.95
COUNTS = (1, 16)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--tokens", type=int, help="tokens per request (default: 96)")


def run(options: Options) -> Report:
    """Generate the same batches with both engines, prefill included; they take turns within each round."""
    tokens = options.given.tokens or options.pick(96, 16)
    report = Report("isolate", {"model": options.model, "tokens each": tokens, "rounds": options.repeats})
    for subject in subjects(options, n_seq_max=max(COUNTS)):
        _measure(subject, options, tokens, report)
    return report


def _measure(subject: Subject, options: Options, tokens: int, report: Report) -> None:
    table = report.table(subject.name, "requests at once", "in this process, tok/s", "isolated, tok/s", "ratio")
    with ExitStack() as stack:
        here = stack.enter_context(subject.open_engine())
        apart = stack.enter_context(subject.open_isolated())
        for count in COUNTS:
            runs = {name: partial(_speed, engine, count, tokens) for name, engine in (("here", here), ("apart", apart))}
            values = interleaved(runs, options.repeats, progress=options.progress)
            share = ratio(values["apart"], values["here"])
            table.add(str(count), middle(values["here"]), middle(values["apart"]), share)
            report.checks.append(Check(f"{subject.name}, {count} at once: isolated / here", share.median, WANTED))


def _speed(engine: Engine, count: int, max_tokens: int, number: int) -> float:
    """Tokens per second of at least four requests, so that a single one is not over in a moment."""
    prompts = short_prompts(max(4, count), number * 16)
    begin, generated = time.perf_counter(), 0
    for first in range(0, len(prompts), count):
        generations = [engine.submit(prompt, max_tokens=max_tokens) for prompt in prompts[first : first + count]]
        generated += sum(len(generation.tokens) for generation in generations if generation.wait())
    return generated / (time.perf_counter() - begin)
