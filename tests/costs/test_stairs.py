from __future__ import annotations

import pytest

from exsa_lab.costs.model import CostCurve
from exsa_lab.costs.stairs import with_stairs

Q8_0 = {
    1: 6.9,
    2: 14.7,
    3: 16.9,
    4: 17.9,
    5: 22.5,
    6: 25.1,
    7: 25.5,
    8: 24.8,
    12: 31.1,
    16: 37.8,
    20: 45.3,
    24: 52.0,
    32: 66.7,
}
Q4_1 = {
    1: 6.8,
    2: 12.9,
    3: 15.6,
    4: 19.0,
    5: 24.1,
    6: 27.4,
    7: 30.7,
    8: 31.9,
    12: 44.8,
    16: 58.1,
    20: 71.7,
    24: 84.8,
    32: 112.2,
}
"""Milliseconds measured on two cores with AVX-512, default target."""
BETWEEN = {
    "Q8_0": {
        9: 30.5,
        10: 32.0,
        11: 33.0,
        13: 36.2,
        14: 39.5,
        15: 40.5,
        17: 43.5,
        18: 44.8,
        19: 47.6,
        21: 50.8,
        23: 52.5,
    },
    "Q4_1": {
        9: 38.1,
        10: 41.1,
        11: 44.5,
        13: 50.4,
        14: 54.0,
        15: 57.2,
        17: 64.6,
        18: 67.8,
        19: 71.5,
        21: 77.0,
        23: 84.3,
    },
}
"""What the same machine takes for numbers that are not measured at load."""


@pytest.mark.parametrize(("name", "points"), [("Q8_0", Q8_0), ("Q4_1", Q4_1)])
def test_numbers_between_are_told_from_the_stairs(name: str, points: dict[int, float]) -> None:
    curve = CostCurve(points)
    for n, seconds in BETWEEN[name].items():
        assert curve(n) == pytest.approx(seconds, rel=0.06)


def test_measured_points_stay() -> None:
    filled = with_stairs({**Q8_0, 10: 99.0})
    assert filled[10] == 99.0
    assert {n: filled[n] for n in Q8_0} == Q8_0


def test_a_straight_curve_stays_straight() -> None:
    filled = with_stairs({n: 1.0 * n for n in (1, 2, 3, 4, 5, 6, 7, 8, 12, 16, 32)})
    assert filled == pytest.approx({n: 1.0 * n for n in filled})
    assert len(filled) > 30


@pytest.mark.parametrize(
    "points",
    [{1: 1.0}, {n: s for n, s in Q8_0.items() if n != 7}, dict.fromkeys(Q8_0, 1.0)],
    ids=["one", "not all of the first stair", "flat"],
)
def test_without_a_stair_nothing_is_made_up(points: dict[int, float]) -> None:
    assert with_stairs(points) == points


def test_a_spike_in_the_first_stair_is_not_repeated_in_full() -> None:
    filled = with_stairs({**Q8_0, 6: 500.0})
    assert filled[14] <= Q8_0[12] + 1.5 * (Q8_0[16] - Q8_0[12])
