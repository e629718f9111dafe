"""What recorded runs say about speed, and which of them say anything."""

from __future__ import annotations

from dataclasses import replace

import pytest

from exsa_lab.events import DraftReason, Event, RoundEvent, Source, TokenEvent
from exsa_lab.trace.measured import MeasuredSpeed, acceptance_of_tested, measured_speeds, plain_speed
from exsa_lab.trace.trace import Trace


def run(speed: float, ks: list[int], length: object = "auto", *, drafter: str = "model", tokens: int = 20) -> Trace:
    events: list[Event] = [TokenEvent(n, 1, "a", Source.TARGET, None, None, None, n) for n in range(tokens)]
    events += [
        RoundEvent(n, k, min(k, 1), 1 + k, 1, 0, 0.01, 0, DraftReason.FIXED, drafter if k else None)
        for n, k in enumerate(ks)
    ]
    return Trace(events, params={"draft_length": length}, stats={"tokens_per_second": speed})


def test_runs_of_a_setting_are_one_point_with_its_range() -> None:
    traces = [run(100, [0, 0], 0), run(120, [0], 0), run(110, [0], 0), *(run(s, [0, 4, 4], 4) for s in (55, 88, 66))]
    plain = plain_speed(traces, 1.0)
    assert (plain.tokens_per_second, plain.runs) == (110, 3)
    assert measured_speeds(traces, plain) == [MeasuredSpeed("k = 4", 4.0, 0.6, 0.5, 0.8, 3, 0.5)]


def test_without_a_plain_run_the_calibrated_step_is_compared_with() -> None:
    plain = plain_speed([run(50, [4], 4)], 0.01)
    assert (plain.tokens_per_second, plain.runs) == (pytest.approx(100.0), 0)


def test_auto_and_lookups_stand_at_the_length_they_drafted() -> None:
    traces = [run(100, [0, 2, 6], "auto"), run(100, [3, 5], 8, drafter="ngram")]
    measured = measured_speeds(traces, plain_speed(traces, 0.01))
    assert {(point.name, point.draft_length) for point in measured} == {("auto", 4.0), ("lookup, k = 8", 4.0)}


def test_runs_in_company_and_short_ones_say_nothing() -> None:
    in_company = run(100, [4], 4)
    in_company.events[-1] = replace(in_company.events[-1], batch_sequences=2)  # type: ignore[call-arg, type-var]
    traces = [in_company, run(100, [4], 4, tokens=3), run(0, [4], 4)]
    assert measured_speeds(traces, plain_speed(traces, 0.01)) == []


def test_only_tested_tokens_count_as_acceptance() -> None:
    assert acceptance_of_tested([run(1, [4, 1, 0])]) == pytest.approx(2 / 3)  # 1 of 2 tested, 1 of 1
    assert acceptance_of_tested([run(1, [0])]) is None
