"""One place of a text: its accept region and its next token."""

from __future__ import annotations

import pytest

from exsa_lab import plots


def test_the_accept_region_adds_up() -> None:
    figure = plots.accept_region({0: 0.5, 1: 0.5}, {0: 0.2, 1: 0.7, 2: 0.1}, names={0: "a", 1: "b", 2: "c"})
    rows = {row[0]: row[1:] for row in figure._rows}
    assert rows["a"] == pytest.approx((0.5, 0.2, 0.2, 0.3, 0.0))
    assert rows["b"] == pytest.approx((0.5, 0.7, 0.5, 0.0, 0.2))
    assert rows["c"] == pytest.approx((0.0, 0.1, 0.0, 0.0, 0.1))
    assert "0.70" in figure.layout.title.text


def test_next_token_draws_the_most_probable_of_any_setting() -> None:
    figure = plots.next_token(
        {"one": {0: 0.5, 1: 0.3, 2: 0.2}, "two": {3: 0.9, 0: 0.1}}, names="abcd".__getitem__, most=2
    )
    assert figure.data[0].x == figure.data[1].x == ("'d'", "'a'")
    assert [bar.y for bar in figure.data] == [(0.0, 0.5), (0.9, 0.1)]
    assert [bar.name for bar in figure.data] == ["one (3 tokens)", "two (2 tokens)"]
