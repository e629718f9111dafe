"""What the cells that other texts left in the cache cost a lone step, and what reading them again would."""

from __future__ import annotations

import statistics
import time
from contextlib import closing

from exsa_lab.bench.measure import ratio
from exsa_lab.bench.report import Report
from exsa_lab.bench.setting import Options, Subject, subjects
from exsa_lab.runtime.model import LlamaModel
from exsa_lab.runtime.protocol import Context

SIZES = (256, 512, 1024, 2048, 4096, 8000)
DEPTH = 128
"""Tokens of the text whose steps are measured."""
STEPS = 20
OWN, OTHER = 0, 1
"""Slots."""


def run(options: Options) -> Report:
    """Measure steps with and without others' cells, in turns."""
    sizes = options.pick(SIZES, (64,))
    report = Report("cells", {"model": options.model, "rounds": options.repeats})
    for subject in subjects(options, n_ctx=max(sizes) + 2 * DEPTH, n_seq_max=2):
        _measure(subject, sizes, options, report)
    return report


def _measure(subject: Subject, sizes: tuple[int, ...], options: Options, report: Report) -> None:
    table = report.table(subject.name, "others' cells", "a step against none", "reading one again, in steps")
    with (
        closing(LlamaModel(subject.path, subject.config)) as model,
        closing(model.open_context(subject.config, subject.n_threads)) as context,
    ):
        read(context, OWN, 0, DEPTH)
        for size in sizes:
            options.progress(f"{subject.name}: {size} cells")
            alone, beside, reading = [], [], []
            for _ in range(options.repeats):
                alone.append(_step_seconds(context))
                begin = time.perf_counter()
                read(context, OTHER, 0, size)
                reading.append((time.perf_counter() - begin) / size)
                beside.append(_step_seconds(context))
                context.remove(OTHER, 0)
            table.add(size, ratio(beside, alone), ratio(reading, alone))


def _step_seconds(context: Context) -> float:
    seconds = []
    for _ in range(STEPS):
        begin = time.perf_counter()
        read(context, OWN, DEPTH, 1)
        seconds.append(time.perf_counter() - begin)
        context.remove(OWN, DEPTH)
    return statistics.median(seconds)


def read(context: Context, slot: int, position: int, tokens: int) -> None:
    """Compute so many tokens of a slot from a position on."""
    batch = context.new_batch()
    for start in range(position, position + tokens, context.n_batch):
        batch.clear()
        count = min(context.n_batch, position + tokens - start)
        batch.add([1] * count, start, slot, 1)
        context.decode(batch)
