"""Where the time of rounds goes, and what other draft lengths would have done."""

from __future__ import annotations

from typing import Any

import pytest

from exsa_lab import plots
from exsa_lab.costs.model import CostModel
from exsa_lab.plots.rounds import split_times


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
