"""Sections about the engine: its plan, its memory, what it is doing, and what llama.cpp said."""

from __future__ import annotations

import psutil

from exsa_lab.config import EngineConfig
from exsa_lab.doctor.models import pair_facts
from exsa_lab.doctor.units import count, size
from exsa_lab.engine.engine import Engine
from exsa_lab.hardware import detect
from exsa_lab.runtime.library import log_lines
from exsa_lab.widgets.panel import Section

LOG_TAIL = 40


def plan_section(engine: Engine | None) -> Section:
    """The settings the engine runs with, or would run with, and what each is for."""
    config = engine.config if engine else EngineConfig()
    threads = str(config.n_threads) if config.n_threads else f"{detect().usable_threads}, one for each usable core"
    layers = "all" if config.n_gpu_layers < 0 else str(config.n_gpu_layers)
    rows = (
        ("context", f"{config.n_ctx:,} KV cells, shared by up to {count(config.n_seq_max, 'sequence')}"),
        ("batch", f"{config.n_batch:,} tokens a call, {config.n_ubatch:,} at once; {config.step_tokens:,} a step"),
        ("threads", threads),
        ("GPU layers", layers),
        ("flash attention", "on" if config.flash_attention else "off: batched and single logits may differ more"),
        ("prefix cache", f"{config.prefix_cache_tokens:,} tokens of finished generations"),
    )
    return Section("Plan" if engine else "Plan (defaults; nothing is loaded)", rows)


def memory_section(engine: Engine | None) -> Section:
    """What this process takes now, and what the models take with a full context.

    Weights by the file's tensors, the KV cache by its formula (`GGUFFacts.kv_bytes_per_token`); llama.cpp's compute
    buffers come on top.
    """
    config = engine.config if engine else EngineConfig()
    rows = [("this process now", size(psutil.Process().memory_info().rss))]
    weights = cells = 0.0
    for facts in pair_facts(engine).values():
        if facts is not None:
            weights += facts.weight_bytes
            cells += facts.kv_bytes_per_token() * config.n_ctx
    if weights:
        rows.append(
            (
                "at full context",
                f"{size(weights + cells)} (weights {size(weights)}, KV cache {size(cells)}) and buffers",
            )
        )
    if engine is not None:
        status = engine.status()
        share = status.cells_used / status.cells if status.cells else 0.0
        rows.append(("KV cells in use", f"{status.cells_used:,} of {status.cells:,} ({share:.0%})"))
    return Section("Memory", tuple(rows))


def status_section(engine: Engine | None) -> Section:
    """What the engine is doing right now."""
    if engine is None:
        advice = "%exsa_load loads one, and %%exsa loads the default pair by itself."
        return Section("No engine is loaded", summary=advice)
    now, config = engine.status(), engine.config
    rows = [
        ("target", engine.target.name),
        ("draft", engine.draft.name if engine.draft else "none"),
        ("generations", f"{now.running} running, {now.waiting} waiting"),
        ("slots", f"{now.slots_used} of {now.slots} in use, {now.slots_cached} kept for prompts that begin alike"),
        ("KV cells", f"{now.cells_used:,} of {now.cells:,} in use, {now.cells_cached:,} of them cache"),
        ("so far", f"{count(now.generated_tokens, 'token')} in {count(now.steps, 'step')}"),
        ("memory", f"{size(psutil.Process().memory_info().rss)} in this process"),
        ("settings", f"n_ctx={config.n_ctx}, n_seq_max={config.n_seq_max}, n_gpu_layers={config.n_gpu_layers}"),
        *(("note", note) for note in engine.notes),
    ]
    return Section(f"Engine: {now.state}", tuple(rows))


def notes_section(engine: Engine | None) -> Section | None:
    """What loading had to say."""
    if engine is None or not engine.notes:
        return None
    return Section("Notes from loading", lines=engine.notes)


def log_section(_engine: Engine | None) -> Section | None:
    """The end of llama.cpp's log."""
    lines = [line for line in log_lines() if not line.startswith("---")][-LOG_TAIL:]
    if not lines:
        return None
    return Section(f"llama.cpp's log, last {len(lines)} lines", lines=tuple(lines), is_wide=True, is_folded=True)
