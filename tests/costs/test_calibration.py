"""What calibration measures, in which order, and that it stops in time."""

from __future__ import annotations

import itertools

import pytest

from exsa_lab.costs.calibration import CATCH_UP, DEADLINE_S, Measurement, calibrate, calibration_plan
from exsa_lab.costs.model import CostCurve, Kind
from exsa_lab.runtime.steady import STEPS_TO_RECORD
from tests.speculation.simulator import MACHINES

Q4_1, DRAFT_CPU = MACHINES["2 cores Q4_1"].target, MACHINES["2 cores Q4_1"].draft


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


@pytest.mark.parametrize(("max_tokens", "has_draft"), list(itertools.product((1, 5, 64, CATCH_UP), (True, False))))
def test_the_plan_fits_the_batch(max_tokens: int, has_draft: bool) -> None:
    plan = calibration_plan(max_tokens, has_draft=has_draft)
    assert plan[0] == Measurement("target", 1)
    assert len(set(plan)) == len(plan)
    assert all(point.num_tokens <= max_tokens for point in plan)
    assert any(point.kind == "draft" for point in plan) == has_draft


def test_in_a_row_the_steady_price_and_that_of_a_change_are_told_apart() -> None:
    machine, now, shapes = MACHINES["H100"], [0.0], dict[Kind, tuple[int, int, int]]()
    curves = {"target": CostCurve(machine.target), "draft": CostCurve(machine.draft)}
    prices: dict[Kind, float] = dict(zip(("target", "draft"), machine.switch, strict=True))

    def measure(kind: Kind, num_tokens: int, num_sequences: int) -> float:
        """The two decodes after a change of shape pay half of its price each."""
        *shape, length = shapes.get(kind, (0, 0, 0))
        length = length + 1 if shape == [num_tokens, num_sequences] else 1
        shapes[kind] = (num_tokens, num_sequences, length)
        seconds = curves[kind](num_tokens) + (prices[kind] / 2 if length <= STEPS_TO_RECORD - 1 else 0.0)
        now[0] += seconds
        return seconds

    costs = calibrate(measure, lambda: now[0], has_draft=True, in_a_row=True)
    assert now[0] <= DEADLINE_S
    for n in (1, 4, 8, 16, 64):
        assert costs.target.points[n] == pytest.approx(machine.target[n])
    assert costs.draft is not None
    assert costs.draft.points[1] == pytest.approx(machine.draft[1])
    assert costs.switch_seconds == pytest.approx(prices)
    assert costs.has_costly_shapes


def test_a_long_decode_of_the_draft_tells_what_catching_up_costs() -> None:
    bench = Bench()
    costs = calibrate(bench.measure, lambda: bench.now, has_draft=True, deadline_s=3.0)
    assert bench.calls.count(Measurement("draft", CATCH_UP)) >= 1
    assert costs.draft_seconds(CATCH_UP) == pytest.approx(bench.draft(CATCH_UP))
    assert max(call.num_tokens for call in bench.calls if call.kind == "target") <= 64


def test_where_shapes_do_not_matter_a_change_costs_nothing() -> None:
    bench = Bench()
    for in_a_row in (False, True):
        costs = calibrate(bench.measure, lambda: bench.now, has_draft=True, in_a_row=in_a_row)
        assert costs.switch_seconds == pytest.approx({"target": 0.0, "draft": 0.0})
        assert not costs.has_costly_shapes
