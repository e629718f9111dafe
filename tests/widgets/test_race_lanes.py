"""What a race says: ratios by turns, how sure they are, and what to mind."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from exsa_lab.errors import ConfigError
from exsa_lab.events import RoundEvent
from exsa_lab.testing import ScriptedModel, markov, scripted_engine
from exsa_lab.trace.trace import Trace
from exsa_lab.widgets.race_lanes import RaceLane, lanes_of_traces, ratio, verdict
from tests.widgets.races import recorded


def test_one_run_each_gives_a_ratio_and_no_interval() -> None:
    plain, fast = lanes_of_traces({"plain": recorded(), "fast": recorded(factor=0.5)})
    found = ratio(fast, plain)
    assert found.ratio == pytest.approx(2)
    assert math.isnan(found.low)
    assert not found.is_clear
    assert str(found) == "2.00 (one run each)"
    assert "2.00 times as fast as plain" in verdict([plain, fast])[0]
    assert "one run each: repeats=5" in verdict([plain, fast])[0]


def test_several_runs_give_an_interval_by_turns() -> None:
    lanes = lanes_of_traces(
        {
            "plain": [recorded(), recorded(factor=1.04), recorded(factor=1.02)],
            "fast": [recorded(factor=0.5), recorded(factor=0.52), recorded(factor=0.5)],
        }
    )
    found = ratio(lanes[1], lanes[0])
    assert found.low < found.ratio < found.high
    assert found.ratio == pytest.approx(2, abs=0.03)
    assert found.is_clear
    assert f"(95 % interval {found.low:.2f} to {found.high:.2f}, 3 runs each)" in verdict(lanes)[0]
    assert not any("busy" in sentence for sentence in verdict(lanes))


def test_turns_that_disagree_are_no_difference_and_a_busy_machine_is_told() -> None:
    lanes = lanes_of_traces(
        {"a": [recorded(), recorded(factor=1.3)], "b": [recorded(factor=1.05), recorded(factor=1.2)]}
    )
    sentences = verdict(lanes)
    assert sentences[0].startswith("No clear difference: b decodes")
    assert "Machine busy: the runs of a differ by 30 %." in sentences


def test_a_lane_says_of_how_many_runs_its_speed_is() -> None:
    (lane, _) = lanes_of_traces({"a": [recorded(), recorded(factor=2)], "b": [recorded(), recorded()]})
    assert lane.sureness == f"{min(lane.speeds):.1f} to {max(lane.speeds):.1f} in 2 runs"
    (lane, _) = lanes_of_traces({"a": recorded(), "b": recorded()})
    assert lane.sureness == "one run"


def test_the_run_of_median_speed_is_shown() -> None:
    runs = [recorded(factor=2), recorded(), recorded(factor=3)]
    (lane, _) = lanes_of_traces({"a": runs, "b": runs})
    assert lane.shown is runs[0]


def test_settings_are_what_differs() -> None:
    lanes = lanes_of_traces(
        {"a": recorded(draft_length=0, temperature=0.5, seed=1), "b": recorded(temperature=0.5, seed=2)}
    )
    assert [lane.settings(lanes) for lane in lanes] == ["draft_length=0", ""]


def test_other_texts_and_shared_steps_are_told() -> None:
    other = recorded(text="Another text, and it is short.")
    shared = [replace(e, batch_sequences=3) if isinstance(e, RoundEvent) else e for e in other.events]
    sentences = verdict(lanes_of_traces({"a": recorded(), "b": Trace(shared)}))
    assert any("texts differ" in sentence for sentence in sentences)
    assert any("shared some of the steps" in sentence for sentence in sentences)
    assert "All wrote the same text." in verdict(lanes_of_traces({"a": recorded(), "b": recorded()}))


@pytest.mark.parametrize(
    ("traces", "what"),
    [
        ({"a": recorded()}, "two settings"),
        ({"a": [recorded()], "b": [recorded(), recorded()]}, "different numbers"),
        ({"a": recorded(), "b": ["text"]}, "no trace"),
        ({"a": recorded(), "b": Trace([])}, "no times"),
        ({"a": [], "b": []}, "no run"),
    ],
)
def test_what_cannot_race_is_refused(traces: dict[str, Trace], what: str) -> None:
    with pytest.raises(ConfigError, match=what):
        lanes_of_traces(traces)


def test_speeds_are_those_of_the_statistics() -> None:
    letters = [chr(97 + i) for i in range(8)]
    with scripted_engine(ScriptedModel(letters, markov(8, 1)), ScriptedModel(letters, markov(8, 2))) as engine:
        gen = engine.generate("abc", max_tokens=30, draft_length=2, drafter="model", chat=False)
    lane = RaceLane("one", (gen.trace,))
    assert lane.tokens_per_second == pytest.approx(gen.stats.tokens_per_second)
    assert lane.finish_s == pytest.approx(gen.trace.rounds[-1].time_s)
