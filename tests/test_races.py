"""Races run settings in turn, alone, warmed up, and without a draft from the same text written before."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from exsa_lab.engine.engine import Engine
from exsa_lab.errors import ConfigError
from exsa_lab.races import WARM_UP_TOKENS, run_race
from exsa_lab.testing import ScriptedModel, markov, scripted_engine

OPTIONS = {"max_tokens": 24, "chat": False}
SETTINGS = {"plain": {**OPTIONS, "draft_length": 0}, "lookup": {**OPTIONS, "draft_length": 4, "drafter": "ngram"}}
LETTERS = [chr(97 + i) for i in range(26)]


@pytest.fixture
def engine() -> Iterator[Engine]:
    with scripted_engine(ScriptedModel(LETTERS, markov(26, 1, sharpness=4))) as made:
        yield made


def test_settings_take_turns_after_a_warm_up_of_each(engine: Engine) -> None:
    traces = run_race(engine, "abc", SETTINGS, repeats=2)
    assert {name: len(runs) for name, runs in traces.items()} == {"plain": 2, "lookup": 2}
    warm, measured = engine.generations[:2], engine.generations[2:]
    assert [gen.params.max_tokens for gen in warm] == [WARM_UP_TOKENS] * 2
    assert [gen.params.draft_length for gen in measured] == [0, 4, 4, 0]


def test_no_run_sees_a_text_of_another_one(engine: Engine) -> None:
    traces = run_race(engine, "abc", SETTINGS, repeats=2)
    runs = [trace for given in traces.values() for trace in given]
    assert len({trace.text for trace in runs}) == 1  # greedy, so all of it could have been looked up
    assert all(event.looked_up_in is None for trace in runs for event in trace.rounds)
    assert all(trace.stats["cached_prompt_tokens"] == 0 for trace in runs)


def test_mistakes_are_told_before_anything_runs(engine: Engine) -> None:
    with pytest.raises(ConfigError, match="two settings"):
        run_race(engine, "abc", {"plain": {}})
    with pytest.raises(ConfigError, match="temprature"):
        run_race(engine, "abc", {"a": {}, "b": {"temprature": 1}})
    with pytest.raises(ConfigError, match="repeats"):
        run_race(engine, "abc", SETTINGS, repeats=0)
    assert not engine.generations


def test_it_does_not_run_beside_other_requests() -> None:
    with scripted_engine(ScriptedModel(LETTERS, markov(26, 1), step_s=0.01)) as engine:
        other = engine.submit("abc", max_tokens=500, chat=False, draft_length=0)
        with pytest.raises(ConfigError, match="other requests"):
            run_race(engine, "abc", SETTINGS)
        other.cancel()
