"""Repeats that lie too far apart are told of, and a single delay is not."""

from __future__ import annotations

import pytest

from exsa_lab.events import RoundEvent
from exsa_lab.scatter import MAX_SCATTER, busy_steps, if_busy, of_costs, of_one_run, spread, typical_delay, unsteadiness


def test_the_spread_is_from_the_smallest_to_the_largest() -> None:
    assert spread([2.0, 3.0, 2.5]) == pytest.approx(0.5)
    assert spread([2.0]) == spread([]) == spread([0.0, 1.0]) == 0.0


def test_a_delay_now_and_then_is_not_typical() -> None:
    quiet = [1.0, 1.01, 1.0, 1.02, 9.0]
    assert typical_delay([quiet] * 10) < MAX_SCATTER
    assert typical_delay([quiet] * 4 + [[1.0, 2.0, 3.0]] * 5) == pytest.approx(1.0)


def test_too_few_repeats_say_nothing() -> None:
    assert typical_delay([]) == typical_delay([[1.0]]) == 0.0


def test_the_warning_says_by_how_much() -> None:
    assert if_busy(MAX_SCATTER) == ""
    assert if_busy(0.166, "the runs of a") == "Machine busy: the runs of a differ by 17 %."


def _rounds(seconds: list[float], tokens: int = 1) -> list[RoundEvent]:
    return [RoundEvent(n, 0, 0, tokens, 1, draft_s=0.0, verify_s=s, sample_s=0.0) for n, s in enumerate(seconds)]


def test_a_context_that_grows_is_no_busy_machine() -> None:
    assert unsteadiness(_rounds([0.01 * 1.02**n for n in range(60)])) < MAX_SCATTER
    assert of_one_run(_rounds([0.01 * 1.02**n for n in range(60)])) == "one run"


def test_steps_that_differ_from_their_neighbours_are_told() -> None:
    rounds = _rounds([0.010, 0.014] * 10)
    assert unsteadiness(rounds) == pytest.approx(0.4)
    assert of_one_run(rounds) == "one run, machine busy: neighbouring steps differ by 40 %"
    steady = _rounds([0.01] * 20)
    assert busy_steps([rounds, steady, rounds]) == ["machine busy: neighbouring steps differ by 40 %"]
    assert busy_steps([rounds, steady, steady]) == busy_steps([]) == []


def test_a_step_now_and_then_and_steps_of_other_sizes_do_not_count() -> None:
    assert unsteadiness(_rounds([0.01] * 9 + [0.1] + [0.01] * 10)) == 0.0
    mixed = [event for pair in zip(_rounds([0.01] * 20), _rounds([0.03] * 20, 4), strict=True) for event in pair]
    assert unsteadiness(mixed) == 0.0
    assert unsteadiness(_rounds([0.0001, 0.0003] * 20)) == 0.0


def test_costs_say_how_sure_they_are_either_way() -> None:
    assert of_costs(0.02) == "Repeats of measured steps differ by 2 %."
    assert of_costs(0.2) == "Machine busy: repeats of measured steps differ by 20 %."
