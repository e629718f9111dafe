"""Figures as SVG: all there, nothing that acts, and where it should be."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from typing import Any

import pytest

from exsa_lab import plots
from exsa_lab.costs.model import CostModel
from exsa_lab.plots.drawing import svg
from exsa_lab.plots.figure import Figure

EVIL = "<script>alert(1)</script>"
NS = "{http://www.w3.org/2000/svg}"


def _root(figure: Any) -> ET.Element:
    return ET.fromstring(svg(figure))


def _bars(figure: Any) -> list[tuple[float, float, float]]:
    """Left, top and height of each bar, without the paper."""
    found = [rect.attrib for rect in _root(figure).findall(f"{NS}rect")][1:]
    return [(float(rect["x"]), float(rect["y"]), float(rect["height"])) for rect in found]


def test_bars_stand_side_by_side_and_their_heights_are_their_values() -> None:
    figure = Figure()
    figure.add_bar(x=["a", "b"], y=[1, 2], showlegend=False)
    figure.add_bar(x=["a", "b"], y=[2, 4], showlegend=False)
    heights = [height for *_, height in _bars(figure)]
    assert [round(height / heights[0], 1) for height in heights] == [1, 2, 2, 4]
    lefts = [left for left, *_ in _bars(figure)]
    assert sorted(lefts) == [lefts[0], lefts[2], lefts[1], lefts[3]]


def test_stacked_bars_stand_on_each_other() -> None:
    figure = Figure()
    for _ in range(2):
        figure.add_bar(x=[0, 1], y=[1, 1], showlegend=False)
    figure.update_layout(barmode="stack")
    (_, low_top, low), _, (_, high_top, high), _ = _bars(figure)
    assert low == pytest.approx(high, abs=0.2)
    assert high_top + high == pytest.approx(low_top, abs=0.2)


def test_a_line_goes_through_its_points() -> None:
    figure = Figure()
    figure.add_scatter(x=[0, 5, 10], y=[0, 10, 0], mode="lines", line={"color": "#123456"})
    figure.update_xaxes(range=[0, 10])
    path = next(p.attrib["d"] for p in _root(figure).iter(f"{NS}path") if p.attrib.get("stroke") == "#123456")
    points = [tuple(map(float, pair.split())) for pair in path[1:].split("L")]
    assert points[1][0] == pytest.approx((points[0][0] + points[2][0]) / 2, abs=0.2)
    assert points[1][1] < points[0][1] == points[2][1]


def test_the_break_even_line_of_a_map_is_where_the_gain_is_one() -> None:
    costs = CostModel.from_measurements({1: 0.01, 2: 0.012, 4: 0.016, 8: 0.03, 16: 0.06}, {1: 0.001})
    root = _root(plots.speed_up_map(costs))
    thick = [path for path in root.iter(f"{NS}path") if path.attrib.get("stroke-width") == "3"]
    assert len(thick) == 1
    assert len(list(root.iter(f"{NS}rect"))) > 51 * 8


def test_texts_are_escaped_and_nothing_acts() -> None:
    figure = plots.next_token({EVIL: {0: 0.6, 1: 0.4}}, names={0: EVIL})
    picture = svg(figure)
    assert "<script" not in picture
    assert "&lt;script&gt;" in picture
    assert not re.search(r"(href|on\w+)=", picture)


def test_long_names_have_room() -> None:
    figure = Figure()
    figure.add_scatter(x=[1], y=["a very long name of a metric indeed"], mode="markers")
    anchors = [t for t in _root(figure).iter(f"{NS}text") if t.attrib.get("text-anchor") == "end"]
    assert float(anchors[0].attrib["x"]) > 6 * len("a very long name of a metric indeed")


def test_a_figure_without_anything() -> None:
    assert _root(Figure()).tag == f"{NS}svg"
