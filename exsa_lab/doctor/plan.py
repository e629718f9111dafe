"""Sections about the settings, each with its reason, and about the memory they take."""

from __future__ import annotations

from dataclasses import fields

import psutil

from exsa_lab.doctor.models import pair_facts
from exsa_lab.doctor.units import size
from exsa_lab.engine.engine import Engine
from exsa_lab.errors import EngineNotLoaded
from exsa_lab.loading import get_engine, get_plan, machine
from exsa_lab.planner import Plan, plan
from exsa_lab.widgets.panel import Section


def plan_of(engine: Engine | None) -> Plan | None:
    """Return the plan the engine was loaded by, None for one that was not; without an engine, the default pair's."""
    if engine is None:
        facts = pair_facts(None)
        target = facts["target"]
        return plan(machine(), target, facts["draft"]) if target is not None else None
    try:
        return get_plan() if get_engine() is engine else None
    except EngineNotLoaded:
        return None


def plan_section(engine: Engine | None) -> Section:
    """Every setting with its value and its reason."""
    made = plan_of(engine)
    if made is None:
        config = engine.config if engine else None
        rows = [(item.name, shown(getattr(config, item.name))) for item in fields(config)] if config else []
        return Section("Settings (given, not planned)", tuple(rows))
    reasons = tuple((choice.name, shown(choice.value), choice.reason) for choice in made.choices)
    title = "Plan" if engine else "Plan (for the default pair; nothing is loaded)"
    return Section(title, reasons, ("setting", "value", "why"))


def shown(value: object) -> str:
    """Return a setting as people read it: ``shown(8192)`` is ``"8,192"``."""
    if isinstance(value, bool):
        return "on" if value else "off"
    return f"{value:,}" if isinstance(value, int) else str(value)


def memory_section(engine: Engine | None) -> Section:
    """What this process takes now, and what the plan's estimate is for a full context."""
    rows = [("this process now", size(psutil.Process().memory_info().rss))]
    made = plan_of(engine)
    if made is not None:
        memory = made.memory
        parts = f"weights {size(memory.host_weights)}, cache and buffers {size(memory.host_cache)}"
        rows.append(("at full context", f"{size(memory.host)} ({parts})"))
        if memory.device:
            free = f" of {size(memory.device_available)} free" if memory.device_available is not None else ""
            rows.append(("on the GPU", f"{size(memory.device)}{free}"))
    if engine is not None:
        status = engine.status()
        share = status.cells_used / status.cells if status.cells else 0.0
        rows.append(("KV cells in use", f"{status.cells_used:,} of {status.cells:,} ({share:.0%})"))
    return Section("Memory", tuple(rows))
