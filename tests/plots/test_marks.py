"""Markers, lines and patterns as SVG."""

from __future__ import annotations

import pytest

from exsa_lab.plots.figure import SYMBOLS
from exsa_lab.plots.marks import Marks, color_at


def test_every_symbol_differs_from_the_others() -> None:
    marks = Marks()
    drawn = {marks.point({"symbol": name}, 0, 5.0, 5.0) for name in (*SYMBOLS, "circle-open")}
    assert len(drawn) == len(SYMBOLS) + 1


def test_values_of_single_points() -> None:
    marker = {"color": ["#111111", "#222222"], "symbol": ["circle-open", "square"], "size": 10}
    assert 'stroke="#111111"' in Marks().point(marker, 0, 1.0, 1.0)
    assert '<rect x="-4.0"' in Marks().point(marker, 1, 1.0, 1.0)


def test_a_pattern_is_defined_once_and_used_by_name() -> None:
    marks = Marks()
    bar = {"color": "#123456", "pattern": {"shape": "x"}}
    assert marks.fill(bar, 0) == marks.fill(bar, 1)
    assert marks.definitions().count("<pattern") == 1
    assert marks.fill({"color": "#123456"}, 0) == 'fill="#123456"'


def test_lines_differ_in_dash() -> None:
    marks = Marks()
    assert len({marks.stroke({"color": "#000000", "dash": dash}) for dash in ("solid", "dash", "dot", "dashdot")}) == 4


def test_what_is_no_colour_closes_no_attribute() -> None:
    assert '"><' not in Marks().stroke({"color": '"><script>'})


@pytest.mark.parametrize(("share", "color"), [(-1, "#000000"), (0.5, "#808080"), (0.2, "#333333"), (2, "#ffffff")])
def test_colours_of_a_scale(share: float, color: str) -> None:
    assert color_at([[0, "#000000"], [1, "#ffffff"]], share) == color
