"""How fast a long prompt is read, by the size of micro-batches: the plan's against others."""

from __future__ import annotations

import argparse
from contextlib import ExitStack, closing
from dataclasses import replace
from functools import partial

from exsa_lab.bench.measure import Run, interleaved, middle, ratio
from exsa_lab.bench.report import Check, Report
from exsa_lab.bench.setting import Options, Subject, subjects
from exsa_lab.models.speed import prompt_seconds
from exsa_lab.runtime.model import LlamaModel
from exsa_lab.runtime.protocol import Context

SIZES = (256, 512, 1024, 2048, 4096)
USUAL = 512
"""llama.cpp's own default."""
WANTED_ON_GPU = 1.3


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--prompt-tokens", type=int, help="length of the prompt (default: 4000)")


def run(options: Options) -> Report:
    """Measure prompt tokens per second."""
    tokens = options.given.prompt_tokens or options.pick(4000, 128)
    report = Report("prefill", {"model": options.model, "prompt tokens": tokens, "rounds": options.repeats})
    for subject in subjects(options, n_ctx=8192, n_seq_max=4):
        _measure(subject, options, tokens, report)
    return report


def _measure(subject: Subject, options: Options, tokens: int, report: Report) -> None:
    planned = subject.config.n_ubatch
    sizes = sorted({planned, *options.pick(SIZES, (USUAL,))})
    with ExitStack() as stack:
        model = stack.enter_context(closing(LlamaModel(subject.path, subject.config)))
        runs: dict[str, Run] = {}
        for size in sizes:
            config = replace(subject.config, n_ubatch=size, n_batch=max(subject.config.n_batch, size))
            context = stack.enter_context(closing(model.open_context(config, subject.n_threads)))
            runs[_name(size)] = partial(_speed, context, tokens)
        found = interleaved(runs, options.repeats, progress=options.progress)
    table = report.table(
        f"{subject.name}: a prompt of {tokens} tokens", "micro-batch", "tok/s", f"against {USUAL}", "the plan"
    )
    for size in sizes:
        values = found[_name(size)]
        table.add(_name(size), middle(values), ratio(values, found[_name(USUAL)]), "yes" if size == planned else "")
    if options.device == "gpu":
        gain = ratio(found[_name(planned)], found[_name(USUAL)]).median
        report.checks.append(Check(f"{subject.name}: prefill, the plan / n_ubatch {USUAL}", gain, WANTED_ON_GPU))


def _name(size: int) -> str:
    return f"n_ubatch {size}"


def _speed(context: Context, tokens: int, _round: int) -> float:
    return tokens / prompt_seconds(context, tokens)
