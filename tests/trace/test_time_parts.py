"""Where the time of a run went: parts that add up to the whole, and agree with what the engine counted."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exsa_lab.events import RoundEvent
from exsa_lab.testing import ScriptedModel, markov, scripted_engine
from exsa_lab.trace.time_parts import TimeParts, time_parts

seconds = st.floats(0, 10)


def _round(number: int, draft_s: float, verify_s: float, sample_s: float, time_s: float) -> RoundEvent:
    return RoundEvent(number, 0, 0, 1, 1, draft_s, verify_s, sample_s, time_s=time_s)


def test_a_round_pays_for_the_sampling_of_the_one_before() -> None:
    rounds = [_round(0, 0, 0.5, 0.01, 1.0), _round(1, 0.1, 0.2, 0.03, 1.4), _round(2, 0.1, 0.2, 9.0, 1.8)]
    parts = time_parts(rounds)
    assert parts == TimeParts(
        pytest.approx(1.0), pytest.approx(0.2), pytest.approx(0.4), pytest.approx(0.04), pytest.approx(0.16)
    )


def test_no_rounds_took_no_time() -> None:
    assert time_parts([]).total_s == 0


@given(st.lists(st.tuples(seconds, seconds, seconds, seconds), min_size=1, max_size=8))
def test_parts_are_not_negative_and_add_up_whatever_was_recorded(lengths: list[tuple[float, ...]]) -> None:
    rounds, now = [], 0.0
    for number, (gap, *rest) in enumerate(lengths):
        now += gap
        rounds.append(_round(number, *rest, now))
    parts = time_parts(rounds)
    assert min(parts.prompt_s, parts.draft_s, parts.verify_s, parts.sample_s, parts.gap_s) >= 0
    assert parts.total_s == pytest.approx(now)


def test_they_are_what_the_engine_counted() -> None:
    letters = [chr(97 + i) for i in range(8)]
    with scripted_engine(ScriptedModel(letters, markov(8, 1)), ScriptedModel(letters, markov(8, 2))) as engine:
        gen = engine.generate("abc", max_tokens=30, draft_length=2, drafter="model", chat=False)
    parts = time_parts(gen.trace.rounds)
    assert parts.prompt_s == pytest.approx(gen.stats.ttft_s)
    assert parts.total_s - parts.prompt_s == pytest.approx(gen.stats.decode_s)
