"""Plotly figures of what the engine did: functions that take traces (or generations) and return figures.

Example::

    from exsa_lab import plots

    plots.acceptance_by_position(gen)
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from exsa_lab.plots.acceptance import acceptance_against, acceptance_by_position, calibration
    from exsa_lab.plots.comparison import bootstrap_ratio, compare, concurrency, concurrency_records
    from exsa_lab.plots.costs import cost_curve, speed_up_map
    from exsa_lab.plots.figure import Figure
    from exsa_lab.plots.position import accept_region, next_token
    from exsa_lab.plots.rounds import draft_lengths, round_times

__all__ = [
    "Figure",
    "accept_region",
    "acceptance_against",
    "acceptance_by_position",
    "bootstrap_ratio",
    "calibration",
    "compare",
    "concurrency",
    "concurrency_records",
    "cost_curve",
    "draft_lengths",
    "next_token",
    "round_times",
    "speed_up_map",
]

_HOMES = {
    "Figure": "figure",
    "accept_region": "position",
    "acceptance_against": "acceptance",
    "acceptance_by_position": "acceptance",
    "bootstrap_ratio": "comparison",
    "calibration": "acceptance",
    "compare": "comparison",
    "concurrency": "comparison",
    "concurrency_records": "comparison",
    "cost_curve": "costs",
    "draft_lengths": "rounds",
    "next_token": "position",
    "round_times": "rounds",
    "speed_up_map": "costs",
}


def __getattr__(name: str) -> Any:
    """Import on first use: plotly takes a while."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
