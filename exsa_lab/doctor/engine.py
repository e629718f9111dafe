"""Sections about the engine: what it is doing, what loading had to say, and llama.cpp's log."""

from __future__ import annotations

import psutil

from exsa_lab.doctor.units import count, size
from exsa_lab.engine.engine import Engine
from exsa_lab.runtime.library import log_lines
from exsa_lab.widgets.panel import Section

LOG_TAIL = 40


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
    lines = log_lines()[-LOG_TAIL:]
    if not lines:
        return None
    return Section(f"llama.cpp's log, last {len(lines)} lines", lines=tuple(lines), is_wide=True, is_folded=True)
