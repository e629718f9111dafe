"""What the length of the own text costs a step, by its number of tokens and by how attention is computed."""

from __future__ import annotations

import time
from contextlib import ExitStack, closing
from dataclasses import replace

from benchmarks.cells import read
from exsa_lab.bench.measure import middle
from exsa_lab.bench.report import Report
from exsa_lab.bench.setting import Options, Subject, subjects
from exsa_lab.config import EngineConfig, KVType
from exsa_lab.runtime.model import LlamaModel
from exsa_lab.runtime.protocol import Context

LENGTHS = (128, 1024, 2048)
SIZES = (1, 4, 16, 63, 64)
"""Tokens of a step: 64 is where llama.cpp's flash attention for CPUs takes a kernel for many tokens at once."""
SLOT = 0
WAYS: dict[str, tuple[bool, KVType]] = {
    "flash attention, f16": (True, "f16"),
    "flash attention, bf16": (True, "bf16"),
    "flash attention, q8_0": (True, "q8_0"),
    "no flash attention, f16": (False, "f16"),
}


def run(options: Options) -> Report:
    """Measure steps behind texts of several lengths, all ways in turns."""
    lengths = options.pick(LENGTHS, (16, 32))
    report = Report("attention", {"model": options.model, "rounds": options.repeats})
    for subject in subjects(options, n_ctx=max(lengths) + 2 * max(SIZES), n_seq_max=1):
        _measure(subject, lengths, options, report)
    return report


def _measure(subject: Subject, lengths: tuple[int, ...], options: Options, report: Report) -> None:
    seconds: dict[tuple[str, int, int], list[float]] = {}
    with closing(LlamaModel(subject.path, subject.config)) as model, ExitStack() as stack:
        contexts = {}
        for name, (flash, kind) in WAYS.items():
            config: EngineConfig = replace(subject.config, flash_attention=flash, kv_type=kind)
            contexts[name] = stack.enter_context(closing(model.open_context(config, subject.n_threads)))
        done = 0
        for length in lengths:
            for name, context in contexts.items():
                options.progress(f"{subject.name}: {length} tokens, {name}")
                read(context, SLOT, done, length - done)
            for _ in range(options.repeats + 1):
                for name, context in contexts.items():
                    for size in SIZES:
                        seconds.setdefault((name, length, size), []).append(_step_seconds(context, length, size))
            done = length
    columns = (f"{size} token{'s' * (size > 1)}, ms" for size in SIZES)
    table = report.table(subject.name, "own text", "attention and KV cache", *columns)
    for length in lengths:
        for name in WAYS:
            # the first round warms up
            table.add(length, name, *(middle(seconds[name, length, size][1:], 1000) for size in SIZES))


def _step_seconds(context: Context, position: int, size: int) -> float:
    begin = time.perf_counter()
    read(context, SLOT, position, size)
    seconds = time.perf_counter() - begin
    context.remove(SLOT, position)
    return seconds
