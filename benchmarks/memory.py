"""Whether loading takes the memory the planner said, and closing gives it back."""

from __future__ import annotations

import psutil

from exsa_lab.bench.report import Check, Report
from exsa_lab.bench.setting import Options, Subject, subjects
from exsa_lab.loading import machine
from exsa_lab.models.gguf_facts import read_facts
from exsa_lab.planner import estimate

MIB = 1 << 20
WANTED_NEAR = 0.10
"""Largest share by which what is taken may differ from the estimate, on a GPU."""
PROMPT = "Explain in detail how a bicycle stays upright."


def run(options: Options) -> Report:
    """Load, generate and close; report free memory at each step."""
    report = Report("memory", {"model": options.model})
    for subject in subjects(options):
        _measure(subject, options, report)
    return report


def free_bytes(device: str) -> int:
    """Return free bytes of the GPUs together, or those this process does not hold of main memory."""
    if device == "gpu":
        return sum(gpu.free_memory or 0 for gpu in machine().gpus)
    return -int(psutil.Process().memory_info().rss)


def _measure(subject: Subject, options: Options, report: Report) -> None:
    facts = read_facts(subject.path), read_facts(subject.draft) if subject.draft else None
    memory = estimate(machine(), *facts, subject.config)
    expected = memory.device if options.device == "gpu" else memory.host
    # The first load also brings what stays for the life of the process: the driver's context, libraries, caches.
    first = free_bytes(options.device)
    with subject.open_engine() as engine:
        engine.generate(PROMPT, max_tokens=8)
    before = free_bytes(options.device)
    with subject.open_engine() as engine:
        loaded = before - free_bytes(options.device)
        engine.generate(PROMPT, max_tokens=64)
        used = before - free_bytes(options.device)
    after = free_bytes(options.device)
    config = subject.config
    table = report.table(
        f"{subject.name}, {'GPU' if options.device == 'gpu' else 'main'} memory, MiB", "moment", "MiB", "estimate"
    )
    table.add("kept by the process after a first load and close", (first - before) / MIB, None)
    table.add("taken by loading target and draft", loaded / MIB, expected / MIB)
    table.add("taken after generating", used / MIB, expected / MIB)
    table.add("not given back by closing", (before - after) / MIB, 0.0)
    layers = "all" if config.n_gpu_layers < 0 else config.n_gpu_layers
    report.notes.append(
        f"{layers} layers on the GPU, n_ctx {config.n_ctx:,}, n_seq_max {config.n_seq_max},"
        f" n_batch {config.n_batch:,}, n_ubatch {config.n_ubatch:,}, kv_type {config.kv_type},"
        f" n_threads {config.n_threads}"
    )
    if options.device == "gpu":
        off = abs(used - expected) / expected
        report.checks.append(Check(f"{subject.name}: off the estimate", off, WANTED_NEAR, at_least=False))
        kept = max(0, before - after) / expected
        report.checks.append(Check(f"{subject.name}: share not given back", kept, 0.01, at_least=False))
