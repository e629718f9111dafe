"""Counted steps against real runs, and against each other."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from exsa_lab.bench.counted import (
    automatic_seconds,
    fixed_seconds,
    perfect_seconds,
    plain_seconds_at_once,
    typical_costs,
)
from exsa_lab.costs.model import CostModel
from exsa_lab.events import Event, TokenEvent
from exsa_lab.testing import ScriptedModel, scripted_engine
from exsa_lab.trace.trace import Trace

VOCAB = 30
PIECES = [chr(ord("a") + i % 26) + str(i // 26) for i in range(VOCAB)]
PROMPT = "a0b0c0"
COSTS = CostModel.from_measurements({1: 1.0, 2: 2.1, 4: 2.8, 8: 3.9, 16: 6.2, 32: 11.0}, switch_seconds={"target": 0.1})


def write(share_of_turns: int, seed: int, length: int | None = None) -> Trace:
    """A text that goes round in a circle, out of which it turns at one of so many places."""
    chain = np.random.default_rng(seed).permutation(VOCAB)

    def next_probs(tokens: tuple[int, ...]) -> np.ndarray:
        turns = hash((seed, *tokens[-7:])) % share_of_turns == 0
        best = hash((seed, *tokens[-4:])) % VOCAB if turns else chain[tokens[-1]] % 9
        return np.eye(VOCAB)[best]

    with scripted_engine(ScriptedModel(PIECES, next_probs)) as engine:
        options: dict[str, Any] = {"drafter": "ngram", "draft_length": length or 0}
        return engine.generate(PROMPT, max_tokens=96, temperature=0, chat=False, **options).trace


@pytest.fixture(scope="module")
def copies() -> list[Trace]:
    return [write(40, seed) for seed in range(6)]


@pytest.fixture(scope="module")
def turns() -> list[Trace]:
    return [write(2, seed) for seed in range(6)]


@pytest.mark.parametrize("length", [0, 3, 7])
def test_a_fixed_length_is_counted_as_it_runs(length: int, turns: list[Trace]) -> None:
    real = write(2, 3, length)
    steps = [event.k for event in real.rounds[1:]]
    seconds = sum(COSTS.step_seconds(1 + k) + (COSTS.return_seconds if k else 0.0) for k in steps)
    assert fixed_seconds([turns[3]], COSTS, length) == pytest.approx(seconds)


def test_nobody_is_faster_than_who_knows_what_will_be_accepted(copies: list[Trace], turns: list[Trace]) -> None:
    texts = {"copies": copies, "turns": turns}
    seconds = automatic_seconds(texts, COSTS)
    for kind, traces in texts.items():
        perfect = sum(perfect_seconds(trace, COSTS) for trace in traces)
        for other in (seconds[kind], *(fixed_seconds(traces, COSTS, length) for length in (0, 2, 7, 15))):
            assert perfect <= other + 1e-9


def test_auto_copies_where_that_pays_and_is_not_slower_where_it_does_not(
    copies: list[Trace], turns: list[Trace]
) -> None:
    seconds = automatic_seconds({"copies": copies, "turns": turns}, COSTS)
    assert fixed_seconds(copies, COSTS, 0) / seconds["copies"] > 1.5
    assert fixed_seconds(turns, COSTS, 0) / seconds["turns"] > 0.97
    assert fixed_seconds(turns, COSTS, 7) > 1.2 * fixed_seconds(turns, COSTS, 0)  # which had something to lose


def test_plain_texts_at_once_leave_the_batch_as_they_end(copies: list[Trace]) -> None:
    short = replace(copies[0], events=[event for event in copies[0].events if not _is_later(event, 3)])
    assert len(short.tokens) == 3
    steps = [COSTS.step_seconds(2, 2)] * 2 + [COSTS.step_seconds(1)] * (len(copies[1].tokens) - 3)
    assert plain_seconds_at_once([short, copies[1]], COSTS) == pytest.approx(sum(steps))


def _is_later(event: Event, position: int) -> bool:
    return isinstance(event, TokenEvent) and event.position >= position


def test_at_once_auto_copies_where_that_pays_too(copies: list[Trace], turns: list[Trace]) -> None:
    texts = {"copies": copies, "turns": turns}
    seconds = automatic_seconds(texts, COSTS, at_once=3)
    plain = {
        kind: plain_seconds_at_once(traces[:3], COSTS) + plain_seconds_at_once(traces[3:], COSTS)
        for kind, traces in texts.items()
    }
    assert plain["copies"] / seconds["copies"] > 1.1
    assert plain["turns"] / seconds["turns"] > 0.97


def test_a_text_of_one_token_has_no_steps() -> None:
    trace = write(40, 0)
    trace = replace(trace, events=[event for event in trace.events if not _is_later(event, 1)])
    assert perfect_seconds(trace, COSTS) == 0.0
    assert automatic_seconds({"one": [trace]}, COSTS) == {"one": 0.0}


def test_typical_costs_are_the_middle_and_the_speed_of_the_machine_does_not_count() -> None:
    def measured(single: float, eight: float) -> CostModel:
        points = {1: single, 8: single * eight}
        return CostModel.from_measurements(
            points, seconds_per_sequence=single * 0.1, switch_seconds={"target": single * 0.2}
        )

    typical = typical_costs([measured(1.0, 3.6), measured(1.5, 6.0), measured(0.9, 3.9)])
    assert typical.target.points == pytest.approx({1: 1.0, 8: 3.9})
    assert (typical.seconds_per_sequence, typical.return_seconds) == pytest.approx((0.1, 0.2))


def test_a_point_that_there_was_no_time_for_is_taken_from_the_others() -> None:
    few, many = ({1: 1.0, 4: 2.0}, {1: 1.0, 4: 3.0, 8: 4.0})
    typical = typical_costs([CostModel.from_measurements(points) for points in (few, many, few)])
    assert typical.target.points == pytest.approx({1: 1.0, 4: 2.0, 8: 4.0})
