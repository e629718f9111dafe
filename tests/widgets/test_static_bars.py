"""Bars made of letters."""

from __future__ import annotations

from typing import Any

from exsa_lab.widgets.static_bars import MAX_BARS, bar, bar_lines, bars_html, measures

TOP = [[5, " sky", 0.5, 0.75, 0.6], [6, "<b>\n", 0.25, 0.25, 0.0]]
ROW: list[Any] = ["a", 5, " sky", 0.5, 0.6, None, 1, TOP, 1.0, 1.5]


def test_a_bar_is_as_full_as_its_share() -> None:
    assert [bar(share).count("█") for share in (0.0, 0.25, 0.5, 1.0, 7.0, -1.0)] == [0, 3, 6, 12, 12, 0]
    assert {len(bar(n / 100)) for n in range(101)} == {12}


def test_lines_say_what_was_before_and_after_the_chain() -> None:
    own, other = bar_lines(ROW)
    assert own.startswith("● ██████")
    assert own.endswith("0.500 → 0.750, q 0.600  “ sky”")
    assert other.endswith("0.250, q 0.000  “<b>↵”")
    assert measures(ROW) == "surprisal 1.00 bits · entropy 1.50 bits"
    assert measures(["t", 5, "a", 0.5, None, None, 0]) == ""


def test_html_is_escaped_bounded_and_empty_where_nothing_was_recorded() -> None:
    html = bars_html([ROW, ["R", 1, 3, 1, 10.0, 0.2, "fixed", "model", 1, None]])
    assert "<b>" not in html
    assert html.count("█" * 6) == 1
    assert bars_html([["t", 5, "a", 0.5, None, None, 0]]) == ""
    assert "1 more tokens" in bars_html([ROW] * (MAX_BARS + 1))
