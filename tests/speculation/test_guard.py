"""What drafting can lose against plain decoding."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exsa_lab.speculation.guard import ALLOWANCE, MOST, SHARE, LossGuard

steps = st.tuples(
    st.floats(0.0, 20.0),  # what the draft loses if all of it is refused, in plain steps
    st.floats(0.0, 1.0),  # which share of that it really loses
    st.floats(0.0, 16.0),  # what it gains
    st.integers(1, 64),
)


@given(st.lists(steps, max_size=300))
def test_never_more_is_lost_than_one_percent_an_allowance_and_a_covered_step(
    outcomes: list[tuple[float, float, float, int]],
) -> None:
    """Over any stretch from the beginning, in steps of one sequence."""
    guard, passed, lost = LossGuard(), 0.0, 0.0
    for risk, share, gain, num in outcomes:
        weight = math.sqrt(num)
        if guard.covers(risk, num):
            change = gain - share * risk
            guard.settle(change, num)
            lost -= change * weight
        guard.pass_time(1.0, num)
        passed += weight
        assert lost <= SHARE * passed + ALLOWANCE + 1e-6, "a covered step is paid out of the allowance"


@given(st.lists(st.floats(-3.0, 16.0), max_size=100), st.floats(0.0, 3.0))
def test_a_step_that_takes_longer_than_was_covered_is_the_last_for_a_while(gains: list[float], excess: float) -> None:
    """A step may cost more than its risk (a spike): that is the most by which the bound is passed."""
    guard, lost = LossGuard(), 0.0
    for gain in gains:
        if not guard.covers(3.0):
            break
        change = gain - excess if gain < 0 else gain
        guard.settle(change)
        lost -= change
        assert lost <= ALLOWANCE + excess + 1e-9


def test_time_brings_drafting_back() -> None:
    guard = LossGuard()
    guard.settle(-ALLOWANCE)
    guard.pass_time(99.0)
    assert not guard.covers(1.0)
    guard.pass_time(2.0)
    assert guard.covers(1.0)


def test_what_can_be_saved_up_is_limited() -> None:
    guard = LossGuard(3.0)
    for _ in range(1000):
        guard.settle(5.0)
        guard.pass_time(100.0)
    assert guard.balance == pytest.approx(3.0 * MOST)


def test_a_larger_batch_may_risk_less_of_its_steps() -> None:
    guard = LossGuard()
    assert guard.covers(ALLOWANCE, 1)
    assert not guard.covers(ALLOWANCE, 4)
    assert guard.covers(ALLOWANCE / 2, 4)
