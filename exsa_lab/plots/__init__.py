"""Plotly figures of what the engine did: functions that take traces (or generations) and return figures.

Example::

    from exsa_lab import plots

    plots.acceptance_by_position(gen)
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from exsa_lab.lazy import lazy_members

if TYPE_CHECKING:
    from exsa_lab.plots.acceptance import acceptance_against, acceptance_by_position, calibration
    from exsa_lab.plots.comparison import compare, concurrency, concurrency_records
    from exsa_lab.plots.costs import cost_curve, speed_up_map
    from exsa_lab.plots.figure import Figure
    from exsa_lab.plots.intervals import ratio_interval
    from exsa_lab.plots.position import accept_region, next_token
    from exsa_lab.plots.rounds import draft_lengths, round_times

__all__ = [
    "Figure",
    "accept_region",
    "acceptance_against",
    "acceptance_by_position",
    "calibration",
    "compare",
    "concurrency",
    "concurrency_records",
    "cost_curve",
    "draft_lengths",
    "next_token",
    "ratio_interval",
    "round_times",
    "speed_up_map",
]

# Imported when first used: plotly takes a while.
__getattr__, __dir__ = lazy_members(
    __name__,
    {
        "Figure": "exsa_lab.plots.figure",
        "accept_region": "exsa_lab.plots.position",
        "acceptance_against": "exsa_lab.plots.acceptance",
        "acceptance_by_position": "exsa_lab.plots.acceptance",
        "calibration": "exsa_lab.plots.acceptance",
        "compare": "exsa_lab.plots.comparison",
        "concurrency": "exsa_lab.plots.comparison",
        "concurrency_records": "exsa_lab.plots.comparison",
        "cost_curve": "exsa_lab.plots.costs",
        "draft_lengths": "exsa_lab.plots.rounds",
        "next_token": "exsa_lab.plots.position",
        "ratio_interval": "exsa_lab.plots.intervals",
        "round_times": "exsa_lab.plots.rounds",
        "speed_up_map": "exsa_lab.plots.costs",
    },
)
