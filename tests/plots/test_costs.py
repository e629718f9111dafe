"""Cost curves."""

from __future__ import annotations

from exsa_lab import plots
from exsa_lab.costs.model import CostModel


def test_cost_curve_marks_what_cannot_win() -> None:
    steep = CostModel.from_measurements({1: 0.01, 16: 0.2}, {1: 0.001})
    figure = plots.cost_curve(steep)
    bars = next(trace for trace in figure.data if trace.type == "bar")
    assert set(bars.text) == {"cannot"}
    assert set(bars.marker.pattern.shape) == {"x"}
