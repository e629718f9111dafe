"""A recorded run as a page gets it."""

from __future__ import annotations

import json

import pytest

from exsa_lab.events import State, StateEvent
from exsa_lab.trace.trace import Trace
from exsa_lab.widgets import run as run_module
from exsa_lab.widgets.run import run_of
from exsa_lab.widgets.step_static import static_text
from tests.widgets.fake import round_event, token
from tests.widgets.races import recorded


def test_the_page_gets_the_whole_run_as_json() -> None:
    trace = recorded(temperature=0.9)
    run = json.loads(json.dumps(run_of(trace), allow_nan=False))
    assert [row[1] for row in run["rows"] if row[0] == "R"] == [event.round for event in trace.rounds]
    assert set(run["times"]) == {str(event.round) for event in trace.rounds}
    assert run["prompt_tokens"] == 31
    assert not run["greedy"]


def test_long_runs_are_cut_and_say_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_module, "MAX_ROUNDS", 5)
    trace = recorded()
    run = run_of(trace)
    assert len([row for row in run["rows"] if row[0] == "R"]) == len(run["times"]) == 5
    assert run["left_out"] == len(trace.rounds) - 5
    assert max(row[6] for row in run["rows"] if row[0] != "R") == 4


@pytest.mark.parametrize(("reason", "says_so"), [("stop", True), ("length", False)])
def test_the_token_that_ends_the_text_says_so(reason: str, says_so: bool) -> None:
    first, second = [token(0, "so."), round_event(0, 0, 0, 0.1)], [token(1, "", round=1), round_event(1, 0, 0, 0.2)]
    trace = Trace([*first, *second, StateEvent(State.FINISHED, reason)])
    assert ("⟨end of text⟩" in static_text(trace)) == says_so
    assert [row[2] for row in run_of(trace)["rows"] if row[0] == "t"] == ["so.", "⟨end of text⟩" if says_so else ""]


def test_times_are_those_of_the_rounds() -> None:
    trace = recorded()
    times = run_of(trace)["times"]
    for event in trace.rounds:
        draft, verify, sample, tokens, end = times[str(event.round)]
        seconds = [event.draft_s, event.verify_s, event.sample_s, event.time_s]
        assert [draft, verify, sample, end] == pytest.approx([1000 * s for s in seconds], abs=0.0005)
        assert tokens == event.batch_tokens


def test_the_head_is_that_of_the_strip() -> None:
    trace = Trace(recorded().events, stats={"tokens_per_second": 12.5, "ttft_s": 0.25})
    head = run_of(trace)["head"]
    assert (head["tok_s"], head["ttft_s"], head["generated"]) == (12.5, 0.25, len(trace.tokens))
    assert head["final"]
