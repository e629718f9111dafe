"""Which runs are independent, and what their ratio's interval is worth."""

from __future__ import annotations

import math

import numpy as np
import pytest

from exsa_lab.events import RoundEvent
from exsa_lab.plots.intervals import batches, ratio_interval, student_t
from exsa_lab.trace.trace import Trace


def _trace(*steps: float, alone: bool = False) -> Trace:
    return Trace([RoundEvent(i, 0, 0, 2, 1 if alone else 2, 0.0, step, 0.0) for i, step in enumerate(steps)])


def test_traces_that_share_a_step_are_one_batch_also_by_way_of_others() -> None:
    a, b, c, d = _trace(0.1, 0.2), _trace(0.3), _trace(0.2, 0.3), _trace(0.4)
    assert batches([a, b, c, d]) == [[a, b, c], [d]]


def test_lone_rounds_of_the_same_duration_are_not_one_step() -> None:
    a, b = _trace(0.1, alone=True), _trace(0.1, alone=True)
    assert [len(batch) for batch in batches([a, b])] == [1, 1]


def test_a_difference_is_found_and_none() -> None:
    rng = np.random.default_rng(3)
    a = rng.normal(100, 5, 30)
    assert ratio_interval(list(a), list(a * 1.1), paired=True) == pytest.approx((1.1, 1.1, 1.1))
    _, low, high = ratio_interval(list(a), list(rng.normal(100, 5, 30)))
    assert low < 1 < high
    _, low, high = ratio_interval(list(a), list(rng.normal(120, 5, 30)))
    assert 1.1 < low < 1.2 < high < 1.3


@pytest.mark.parametrize("count", [2, 3, 5, 25])
@pytest.mark.parametrize("paired", [False, True])
def test_intervals_cover_the_truth_with_few_measurements_too(count: int, paired: bool) -> None:
    rng = np.random.default_rng(11)
    covered = 0
    for _ in range(1000):
        shared = rng.normal(0, 1, count) if paired else np.zeros(count)
        a, b = 10 + shared + rng.normal(0, 0.3, count), 12 + 1.2 * shared + rng.normal(0, 0.3, count)
        _, low, high = ratio_interval(list(a), list(b), paired=paired)
        covered += low <= 1.2 <= high
    assert covered >= 930


@pytest.mark.parametrize(("a", "b"), [([1.0], [2.0]), ([1.0], [1.0, 2.0]), ([0.0, 0.0], [1.0, 1.0])])
def test_what_cannot_be_told_has_no_interval(a: list[float], b: list[float]) -> None:
    _, low, high = ratio_interval(a, b)
    assert math.isnan(low)
    assert math.isnan(high)


@pytest.mark.parametrize(("a", "b", "paired"), [([], [1.0], False), ([1.0, 2.0], [1.0], True)])
def test_samples_that_cannot_be_compared(a: list[float], b: list[float], paired: bool) -> None:
    with pytest.raises(ValueError, match="compared"):
        ratio_interval(a, b, paired=paired)


@pytest.mark.parametrize(("freedom", "t"), [(1, 12.706), (2, 4.303), (3, 3.182), (5, 2.571), (10, 2.228), (30, 2.042)])
def test_quantiles_of_student_t(freedom: int, t: float) -> None:
    assert student_t(freedom) == pytest.approx(t, rel=0.01)
