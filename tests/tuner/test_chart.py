"""The live chart."""

from __future__ import annotations

from ipywidgets import Widget

from exsa_lab.experiments import Experiment
from exsa_lab.tuner.chart import MAX_LINES, MAX_POINTS, LiveChart
from tests.tuner.parts import SETTING


def test_chart_and_lines_are_bounded() -> None:
    chart = LiveChart()
    for number in range(1, MAX_LINES + 4):
        chart.begin(number)
    assert [line.name for line in chart.figure.data][-1] == f"run {MAX_LINES + 3}"
    assert len(chart.figure.data) == MAX_LINES
    run = Experiment(SETTING, ("a",))
    for i in range(3 * MAX_POINTS):
        run.seconds = float(i)
        chart.update(run)
    x = list(chart.figure.data[-1].x)
    assert len(x) <= MAX_POINTS + 1
    assert x == sorted(x)
    assert (x[0], x[-1]) == (0, 3 * MAX_POINTS - 1)
    Widget.close_all()
