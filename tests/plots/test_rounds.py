"""Where the time of rounds goes, and what other draft lengths would have done."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from exsa_lab import plots
from exsa_lab.costs.model import CostModel
from exsa_lab.engine.engine import Engine
from exsa_lab.plots.rounds import split_times
from exsa_lab.testing import ScriptedModel, markov, scripted_engine


@pytest.fixture(scope="module")
def engine() -> Iterator[Engine]:
    right, wrong = markov(20, 1), markov(20, 2)
    pieces = [chr(97 + i) for i in range(20)]
    draft = ScriptedModel(pieces, lambda tokens: 0.7 * np.asarray(right(tokens)) + 0.3 * np.asarray(wrong(tokens)))
    with scripted_engine(ScriptedModel(pieces, right), draft, n_seq_max=4) as engine:
        yield engine


@pytest.fixture(scope="module")
def gens(engine: Engine) -> list[Any]:
    options = {"max_tokens": 60, "chat": False, "drafter": "model", "progress": False}
    greedy = engine.map(["abc", "bcd"], draft_length=4, **options)
    return [*greedy, *engine.map(["abc"], draft_length=3, temperature=0.8, seed=1, **options)]


@pytest.fixture
def costs() -> CostModel:
    return CostModel.from_measurements({1: 0.01, 2: 0.012, 4: 0.016, 8: 0.03, 16: 0.06}, {1: 0.001})


def test_round_times_add_up_to_the_clock(gens: list[Any]) -> None:
    trace = gens[0].trace
    times = split_times(trace)
    first, last = trace.rounds[0], trace.rounds[-1]
    elapsed = last.time_s + last.sample_s - first.time_s
    later = times[1:]
    assert sum(sum(t[1:5]) for t in later) + first.sample_s == pytest.approx(elapsed, abs=1e-3)
    assert times[0].gap_s == 0


def test_draft_lengths_are_those_of_the_replay(gens: list[Any], costs: CostModel) -> None:
    trace = gens[0].trace
    figure = plots.draft_lengths(trace, longest=6, costs=costs)
    assert figure.data[0].y == pytest.approx([trace.replay(k).tokens_per_round for k in range(7)])
    assert figure.data[0].marker.symbol[4] == "circle"
    assert figure.data[1].y[0] == pytest.approx(1.0)
