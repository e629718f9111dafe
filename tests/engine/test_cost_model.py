"""Measured cost curves, what calibration measures, and what online correction believes."""

from __future__ import annotations

import itertools
import math
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exsa_lab.engine.break_even import best_case_speedup, break_even, expected_tokens, speed_up, verdict_sentence
from exsa_lab.engine.calibration import Measurement, calibrate, calibration_plan
from exsa_lab.engine.cost_model import CostCurve, CostModel, Kind, bin_of
from tests.engine.simulator import DRAFT_CPU, DRAFT_H100, H100, IQ4_NL, MACHINES, Q4_1, Q8_0

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
    assert costs.step_seconds(12) / costs.step_seconds(8) == pytest.approx(2.9 / 1.56)
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
    moved = math.log(ratio(costs, 16) * Q8_0[1] / Q8_0[16])
    assert abs(moved) < 0.6 * math.log(2.0)  # points not seen follow by less than what the seen one moved


def test_a_curve_wrong_by_a_factor_is_put_right_beyond_the_point_that_shows_it() -> None:
    costs = CostModel.from_measurements({n: s * (1.0 if n == 1 else 0.6) for n, s in Q8_0.items()})
    for _ in range(60):
        observe(costs, 4, Q8_0[4])
        observe(costs, 1, Q8_0[1])
    assert ratio(costs, 4) == pytest.approx(Q8_0[4] / Q8_0[1], rel=0.1)
    assert ratio(costs, 16) > 1.2 * 0.6 * Q8_0[16] / Q8_0[1]


def test_a_point_between_measured_ones_is_learned_too() -> None:
    costs = CostModel.from_measurements(H100)
    truth = 2.8 * H100[1]  # the jump comes right after 8 tokens, not gradually
    for _ in range(60):
        observe(costs, 9, truth)
        observe(costs, 1, H100[1])
    assert ratio(costs, 9) == pytest.approx(2.8, rel=0.1)


def test_a_wrong_draft_cost_is_put_right() -> None:
    costs = CostModel.from_measurements(Q8_0, {1: 0.0001})
    for _ in range(100):
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


# Calibration


class Bench:
    """A clock that only measuring moves."""

    def __init__(self, scale: float = 1.0, spikes: frozenset[int] = frozenset()) -> None:
        self.now = 100.0
        self.scale = scale
        self.spikes = spikes
        self.calls: list[Measurement] = []
        self.target, self.draft = CostCurve(Q4_1), CostCurve(DRAFT_CPU)

    def measure(self, kind: Kind, num_tokens: int, num_sequences: int) -> float:
        curve = self.target if kind == "target" else self.draft
        seconds = self.scale * curve(num_tokens) + 0.0001 * (num_sequences - 1)
        if len(self.calls) in self.spikes:
            seconds *= 20
        self.calls.append(Measurement(kind, num_tokens, num_sequences))
        self.now += seconds
        return seconds


def test_the_default_pair_is_measured_in_time_with_several_samples() -> None:
    bench = Bench()
    costs = calibrate(bench.measure, lambda: bench.now, has_draft=True, deadline_s=1.5)
    assert bench.now <= 101.5
    for n in (1, 2, 3, 4, 5, 8, 16):
        assert costs.step_seconds(n) == pytest.approx(Q4_1[n])
    assert costs.draft_seconds(1) == pytest.approx(DRAFT_CPU[1])
    assert bench.calls.count(Measurement("target", 4)) >= 2
    assert costs.seconds_per_sequence == pytest.approx(0.0001)


def test_a_slow_machine_gets_fewer_points_and_still_stops_in_time() -> None:
    bench = Bench(scale=20)
    costs = calibrate(bench.measure, lambda: bench.now, has_draft=True, deadline_s=1.5)
    assert bench.now <= 101.5
    assert costs.step_seconds(1) == pytest.approx(20 * Q4_1[1])
    assert 4 in costs.target.points


def test_single_steps_are_measured_even_without_time() -> None:
    bench = Bench()
    costs = calibrate(bench.measure, lambda: bench.now, has_draft=True, deadline_s=0.0)
    assert list(costs.target.points) == [1]
    assert costs.draft is not None


def test_a_spike_while_calibrating_does_not_count() -> None:
    bench = Bench(spikes=frozenset({4}))
    costs = calibrate(bench.measure, lambda: bench.now, has_draft=False, deadline_s=3.0)
    assert bench.calls[4].num_tokens in Q4_1
    for n in (1, 2, 4, 8, 16):
        assert costs.step_seconds(n) == pytest.approx(Q4_1[n])


def test_the_first_decode_only_warms_up() -> None:
    bench = Bench(spikes=frozenset({0}))
    costs = calibrate(bench.measure, lambda: bench.now, has_draft=False, deadline_s=0.0)
    assert costs.step_seconds(1) == pytest.approx(Q4_1[1])


@pytest.mark.parametrize(("max_tokens", "has_draft"), list(itertools.product((1, 5, 64), (True, False))))
def test_the_plan_fits_the_batch(max_tokens: int, has_draft: bool) -> None:
    plan = calibration_plan(max_tokens, has_draft=has_draft)
    assert plan[0] == Measurement("target", 1)
    assert len(set(plan)) == len(plan)
    assert all(point.num_tokens <= max_tokens for point in plan)
    assert any(point.kind == "draft" for point in plan) == has_draft


# Break-even


@settings(deadline=None)
@given(st.floats(0, 1), st.integers(0, 16))
def test_expected_tokens_is_the_geometric_sum(acceptance: float, k: int) -> None:
    value = expected_tokens(acceptance, k)
    assert 1 <= value <= k + 1
    if acceptance < 0.99:
        assert value == pytest.approx((1 - acceptance ** (k + 1)) / (1 - acceptance))


@pytest.mark.parametrize("name", MACHINES)
@pytest.mark.parametrize("k", [1, 2, 3, 4, 5, 6, 7, 8])
def test_at_break_even_drafting_is_as_fast_as_plain(name: str, k: int) -> None:
    costs = CostModel.from_measurements(*MACHINES[name])
    needed = break_even(costs, k)
    if needed is None:
        assert best_case_speedup(costs, k) < 1
    else:
        assert speed_up(costs, k, needed) == pytest.approx(1.0, abs=1e-6)
        assert best_case_speedup(costs, k) >= 1


def test_break_even_of_a_free_draft_is_lower() -> None:
    costs = CostModel.from_measurements(Q8_0, DRAFT_CPU)
    with_model, free = break_even(costs, 7), break_even(costs, 7, uses_model=False)
    assert with_model is not None
    assert free is not None
    assert free < with_model


@pytest.mark.parametrize(
    ("target", "draft", "sentence"),
    [
        (
            Q8_0,
            DRAFT_CPU,
            "On this machine a draft model cannot pay for chat: verifying 4 tokens costs 2.7 single steps. "
            "Copying text can: up to 2.8x.",
        ),
        (
            H100,
            DRAFT_H100,
            "On this machine a draft model can pay for chat: verifying 4 tokens costs 1.4 single steps, so 1 draft "
            "token gives 1.2x where 60% are accepted. Copying text can pay more: up to 5.6x.",
        ),
        (
            MACHINES["steep"][0],
            DRAFT_CPU,
            "On this machine a draft model cannot pay for chat: verifying 4 tokens costs 4.0 single steps. "
            "Copying text cannot either.",
        ),
        (
            IQ4_NL,
            None,
            "No draft model is loaded; verifying 4 tokens costs 2.5 single steps. Copying text can pay: up to 2.6x.",
        ),
        (
            MACHINES["steep"][0],
            None,
            "On this machine drafting cannot pay: verifying 4 tokens costs 4.0 single steps.",
        ),
    ],
)
def test_the_verdict_is_one_plain_sentence(
    target: dict[int, float], draft: dict[int, float] | None, sentence: str
) -> None:
    assert verdict_sentence(CostModel.from_measurements(target, draft)) == sentence
