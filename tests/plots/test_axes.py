"""Where values lie on an axis, and its ticks."""

from __future__ import annotations

from typing import Any

import pytest

from exsa_lab.plots.axes import Axis


@pytest.mark.parametrize(
    ("layout", "values", "texts"),
    [
        ({"range": [0, 10]}, [], ["0", "2", "4", "6", "8", "10"]),
        ({"range": [0, 1.02], "tickformat": ".0%"}, [], ["0%", "20%", "40%", "60%", "80%", "100%"]),
        ({"dtick": 1}, [1, 2, 3], ["1", "2", "3"]),
        ({"rangemode": "tozero"}, [3, 9], ["0", "2", "4", "6", "8"]),
        ({"type": "category"}, ["b", "a", "b"], ["b", "a"]),
        ({"type": "log"}, [1, 30], ["1", "2", "5", "10", "20"]),
        ({"tickvals": [1, 16], "ticktext": ["one", "all"], "type": "log"}, [1, 16], ["one", "all"]),
        ({}, [0.0], ["0", "0.1", "0.2", "0.3", "0.4", "0.5"]),
        ({}, [None, float("nan")], ["0", "0.2", "0.4", "0.6", "0.8", "1"]),
    ],
)
def test_ticks(layout: dict[str, Any], values: list[Any], texts: list[str]) -> None:
    assert [text for _, text in Axis(layout, values, (0.0, 100.0)).ticks()] == texts


def test_pixels() -> None:
    linear = Axis({"range": [0, 10]}, [], (100.0, 200.0))
    assert [linear.pixel(value) for value in (0, 5, 10)] == [100, 150, 200]
    assert linear.pixel(1e9) == pytest.approx(202)  # at the edge, not on another page
    upside_down = Axis({"range": [10, 0]}, [], (0.0, 100.0))
    assert upside_down.pixel(10) == 0
    log = Axis({"type": "log", "range": [0, 2]}, [], (0.0, 100.0))
    assert [log.pixel(value) for value in (1, 10, 100)] == [0, 50, 100]
    category = Axis({}, ["a", "b"], (0.0, 100.0))
    assert [category.pixel(value) for value in ("a", "b")] == [25, 75]
    assert category.unit == 50
