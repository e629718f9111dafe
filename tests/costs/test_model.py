"""Measured cost curves, and what online correction believes."""

from __future__ import annotations

import math
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exsa_lab.costs.model import CostCurve, CostModel, bin_of
from tests.speculation.simulator import MACHINES

Q4_1, Q8_0, H100 = (MACHINES[name].target for name in ("2 cores Q4_1", "2 cores Q8_0", "H100"))
DRAFT_CPU = MACHINES["2 cores Q8_0"].draft
curves = st.dictionaries(st.integers(1, 200), st.floats(1e-4, 10), min_size=1, max_size=12)


@settings(deadline=None)
@given(curves)
def test_measured_points_are_kept_as_measured(points: dict[int, float]) -> None:
    curve = CostCurve(points)
    for n, seconds in points.items():
        assert curve(n) == pytest.approx(seconds)


@settings(deadline=None)
@given(curves, st.integers(0, 1000))
def test_costs_are_positive_and_between_their_neighbours(points: dict[int, float], n: int) -> None:
    cost = CostCurve(points)(n)
    assert cost >= 0
    known = sorted(points)
    if n and known[0] <= n <= known[-1]:
        left, right = max(k for k in known if k <= n), min(k for k in known if k >= n)
        bounds = sorted((points[left], points[right]))
        assert bounds[0] * 0.999999 <= cost <= bounds[1] * 1.000001


def test_a_jump_is_not_smoothed() -> None:
    costs = CostModel.from_measurements(H100)
    assert costs.step_seconds(9) / costs.step_seconds(8) == pytest.approx(2.75 / 1.5)
    assert CostModel.from_measurements(Q4_1).step_seconds(8) < CostModel.from_measurements(Q4_1).step_seconds(5)


def test_beyond_the_last_point_the_cost_goes_on_rising_but_no_steeper_than_on_average() -> None:
    curve = CostCurve({1: 1.0, 4: 2.0, 8: 4.0})
    assert curve(16) == pytest.approx(8.0)
    falling = CostCurve({1: 1.0, 5: 6.8, 8: 5.0})
    assert falling(16) == pytest.approx(10.0)


def test_one_point_alone_means_that_nothing_is_shared() -> None:
    assert CostCurve({1: 2.0})(10) == pytest.approx(20.0)


@pytest.mark.parametrize("points", [{}, {0: 1.0}, {1: 0.0}, {1: -1.0}, {1: math.nan}, {1: math.inf}])
def test_impossible_curves_are_refused(points: dict[int, float]) -> None:
    with pytest.raises(ValueError, match="positive"):
        CostCurve(points)


def test_sequences_cost_extra() -> None:
    costs = CostModel.from_measurements({1: 1.0, 8: 2.0}, seconds_per_sequence=0.1)
    assert costs.step_seconds(8, 5) == pytest.approx(2.4)
    assert costs.sequences_seconds(5) == pytest.approx(0.4)
    assert costs.sequences_seconds(1) == costs.sequences_seconds(0) == 0.0


def test_without_a_draft_drafting_is_infinitely_dear() -> None:
    assert CostModel.from_measurements({1: 1.0}).draft_seconds(1) == math.inf


@settings(deadline=None)
@given(st.integers(1, 5000))
def test_bins_are_exact_for_small_counts_and_close_for_large_ones(n: int) -> None:
    assert bin_of(n) <= n <= bin_of(n) * 1.13
    assert n > 32 or bin_of(n) == n


# Online correction


def ratio(costs: CostModel, n: int) -> float:
    return costs.step_seconds(n) / costs.step_seconds(1)


def observe(costs: CostModel, n: int, seconds: float, times: int = 1) -> None:
    for _ in range(times):
        costs.observe("target", n, 1, seconds)


def test_another_program_scales_all_costs_alike() -> None:
    costs = CostModel.from_measurements(Q8_0, DRAFT_CPU)
    before = [ratio(costs, n) for n in (2, 4, 8, 16)]
    observe(costs, 1, 2.5 * Q8_0[1], times=100)
    assert costs.slow_down == pytest.approx(2.5, rel=0.05)
    assert costs.draft_seconds(1) == pytest.approx(2.5 * DRAFT_CPU[1], rel=0.05)
    assert [ratio(costs, n) for n in (2, 4, 8, 16)] == pytest.approx(before)


def test_a_load_while_steps_of_all_sizes_run_keeps_the_ranking() -> None:
    costs = CostModel.from_measurements(Q8_0)
    rng = random.Random(0)
    for step in range(600):
        n = rng.choice((1, 4, 8))
        observe(costs, n, Q8_0[n] * (2.0 if step >= 300 else 1.0) * math.exp(rng.gauss(0, 0.05)))
    for n in (4, 8):
        assert ratio(costs, n) == pytest.approx(Q8_0[n] / Q8_0[1], rel=0.1)


def test_a_single_spike_moves_next_to_nothing() -> None:
    costs = CostModel.from_measurements(Q8_0)
    observe(costs, 1, Q8_0[1], times=20)
    observe(costs, 4, 50 * Q8_0[4])
    observe(costs, 1, Q8_0[1], times=5)
    assert costs.slow_down == pytest.approx(1.0, abs=0.1)
    assert ratio(costs, 4) == pytest.approx(Q8_0[4] / Q8_0[1], rel=0.15)


@pytest.mark.parametrize("factor", [0.5, 2.0])
def test_a_wrong_point_is_put_right_where_n_alternates(factor: float) -> None:
    costs = CostModel.from_measurements({**Q8_0, 4: factor * Q8_0[4]})
    for _ in range(60):
        observe(costs, 4, Q8_0[4])
        observe(costs, 1, Q8_0[1])
    assert ratio(costs, 4) == pytest.approx(Q8_0[4] / Q8_0[1], rel=0.1)
    assert ratio(costs, 16) == pytest.approx(Q8_0[16] / Q8_0[1], rel=0.01)  # points not seen stay as measured


def test_the_single_token_has_no_correction_of_its_own() -> None:
    """It is the measure of all others: what it seems to cost is the speed of the machine."""
    costs = CostModel.from_measurements({**Q8_0, 1: 1.4 * Q8_0[1]})
    for _ in range(100):
        observe(costs, 4, Q8_0[4])
        observe(costs, 1, Q8_0[1])
    assert costs.target(1) == pytest.approx(1.4 * Q8_0[1])
    assert ratio(costs, 4) == pytest.approx(Q8_0[4] / Q8_0[1], rel=0.1)


def test_steps_of_one_size_correct_no_point() -> None:
    costs = CostModel.from_measurements(Q8_0)
    observe(costs, 4, 3 * Q8_0[4], times=100)
    assert costs.target(4) == pytest.approx(Q8_0[4])
    assert costs.slow_down == pytest.approx(3.0, rel=0.05)


def test_a_point_between_measured_ones_is_learned_too() -> None:
    costs = CostModel.from_measurements({n: seconds for n, seconds in H100.items() if n != 9})
    truth = H100[9]  # the jump comes right after 8 tokens, not gradually
    assert costs.step_seconds(9) < 0.8 * truth
    for _ in range(60):
        observe(costs, 9, truth)
        observe(costs, 1, H100[1])
    assert ratio(costs, 9) == pytest.approx(truth / H100[1], rel=0.1)
    assert ratio(costs, 8) == pytest.approx(H100[8] / H100[1], rel=0.01)


def test_what_coming_back_from_a_draft_costs_is_no_slow_down() -> None:
    costs = CostModel.from_measurements(Q8_0, switch_seconds={"target": 0.2 * Q8_0[1]})
    assert costs.return_seconds == pytest.approx(0.2 * Q8_0[1])
    for _ in range(100):
        observe(costs, 4, Q8_0[4])
        observe(costs, 1, 1.2 * Q8_0[1])
    assert costs.slow_down == pytest.approx(1.0, abs=0.02)
    assert ratio(costs, 4) == pytest.approx(Q8_0[4] / Q8_0[1], rel=0.02)


def test_a_wrong_draft_cost_is_put_right() -> None:
    costs = CostModel.from_measurements(Q8_0, {1: 0.0001})
    for _ in range(400):
        costs.observe("draft", 1, 1, 0.001)
    assert costs.draft_seconds(1) == pytest.approx(0.001, rel=0.1)


@pytest.mark.parametrize("seconds", [0.0, -1.0, math.nan, math.inf])
def test_impossible_observations_are_ignored(seconds: float) -> None:
    costs = CostModel.from_measurements(Q8_0, DRAFT_CPU)
    costs.observe("target", 4, 1, seconds)
    costs.observe("draft", 1, 1, seconds)
    costs.observe("target", 0, 1, 1.0)
    assert costs.step_seconds(4) == pytest.approx(Q8_0[4])


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(1, 300), st.floats(1e-6, 1e3)), max_size=60))
def test_costs_stay_positive_and_finite_whatever_is_observed(steps: list[tuple[int, float]]) -> None:
    costs = CostModel.from_measurements(Q8_0, DRAFT_CPU)
    for n, seconds in steps:
        costs.observe("target", n, 1, seconds)
        costs.observe("draft", n, 1, seconds)
    for n in (1, 2, 7, 33, 300, 600):
        assert 0 < costs.step_seconds(n) < math.inf
        assert 0 < costs.draft_seconds(n) < math.inf


def test_only_steady_decodes_are_learned_from_where_a_change_of_shape_is_dear() -> None:
    costs = CostModel.from_measurements({1: 0.001, 4: 0.0015, 8: 0.002}, {1: 0.0003}, switch_seconds={"target": 0.004})
    for _ in range(200):
        for num_tokens in (1, 4):
            for _ in range(2):
                costs.observe("target", num_tokens, 1, costs.target.points[num_tokens] + 0.002)
    assert costs.slow_down == 1.0
    assert costs.step_seconds(4) == 0.0015
    for _ in range(200):
        costs.observe("target", 4, 1, 0.003)
    assert costs.slow_down > 1.5


def test_a_step_takes_the_tokens_that_cost_least_each() -> None:
    stairs = {1: 1.0, 2: 1.9, 3: 2.4, 4: 4.1, 5: 6.8, 8: 5.0}
    costs = CostModel.from_measurements(stairs)
    assert [costs.cheapest_step(1, most, 1) for most in (1, 2, 3, 4, 5, 8)] == [1, 2, 3, 3, 3, 8]
    assert costs.cheapest_step(4, 5, 4) == 4
    steep = CostModel.from_measurements({1: 1.0, 16: 17.0})
    assert steep.cheapest_step(1, 16, 1) == 1


def test_a_step_of_another_shape_must_be_worth_the_change_and_the_way_back() -> None:
    curve = {1: 1.1e-3, 8: 1.7e-3, 64: 5e-3}
    costs = CostModel.from_measurements(curve, switch_seconds={"target": 3.8e-3})
    assert costs.cheapest_step(1, 6, 1) == 1
    assert costs.cheapest_step(1, 40, 1) == 40
