from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exsa_lab.speculation.token_worth import SAME_TIME, seconds_saved

CPU = [0.0, 7.0, 13.0, 17.0, 20.0, 23.0, 25.0, 26.0, 27.0]
"""Seconds, say, by number of sequences: small batches are dear by the token."""


def total(steps_left: list[float], step_seconds: list[float]) -> float:
    """Seconds until all have ended, one step after the other."""
    left, seconds = list(steps_left), 0.0
    while left := [n for n in left if n > 0]:
        seconds += step_seconds[len(left)]
        left = [n - 1 for n in left]
    return seconds


def test_alone_a_token_saves_a_step() -> None:
    assert seconds_saved([50], CPU) == [CPU[1]]


@pytest.mark.parametrize("index", range(4))
def test_a_token_saves_what_the_batch_then_takes_less(index: int) -> None:
    left = [100.0, 60.0, 30.0, 10.0]
    sooner = [n - (i == index) for i, n in enumerate(left)]
    assert seconds_saved(left, CPU)[index] == pytest.approx(total(left, CPU) - total(sooner, CPU))


def test_those_who_end_together_share_a_step() -> None:
    assert seconds_saved([40.0] * 8, CPU) == pytest.approx([CPU[8] / 8] * 8)


def test_the_first_to_end_saves_less_than_the_mean_and_the_last_more() -> None:
    saved = seconds_saved([100.0] + [60.0] * 6 + [10.0], CPU)
    assert saved[-1] < CPU[8] / 8 < saved[0] == CPU[1]


def test_where_a_smaller_batch_is_no_faster_ending_sooner_saves_nothing() -> None:
    gpu = [0.0, 1.0, 1.0, 1.0, 1.0]
    assert seconds_saved([100, 50, 20, 5], gpu) == [1.0, 0.0, 0.0, 0.0]


@given(st.lists(st.floats(1, 1e4), min_size=1, max_size=8))
def test_nobody_saves_more_than_a_step_and_who_ends_later_no_less(steps_left: list[float]) -> None:
    saved = dict(zip(sorted(steps_left), seconds_saved(sorted(steps_left), CPU), strict=True))
    assert all(0 <= value <= CPU[1] + 1e-9 for value in saved.values())
    for own, value in saved.items():
        clearly_later = [v for n, v in saved.items() if n * SAME_TIME**2 > own]
        assert all(v >= value - 1e-9 for v in clearly_later)
