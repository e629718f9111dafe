"""Whole turns are left out, the oldest first, and the system message stays."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exsa_lab.errors import ConfigError, PromptTooLong
from exsa_lab.prompts.messages import Message
from exsa_lab.prompts.overflow import PART, dropped_note, turns_to_drop, without_oldest
from exsa_lab.testing import ScriptedModel, scripted_engine

SYSTEM: Message = {"role": "system", "content": "s"}


def talk(sizes: list[int]) -> list[Message]:
    """A conversation whose turns have so many letters; each its own, so that a text tells which turns it has."""
    messages = [SYSTEM]
    for index, size in enumerate(sizes):
        letter = chr(ord("a") + index)
        messages.append({"role": "user", "content": letter * (size - size // 2)})
        messages.append({"role": "assistant", "content": letter * (size // 2)})
    return [*messages, {"role": "user", "content": "?"}]


def count(messages: list[Message]) -> int:
    return sum(len(message["content"]) for message in messages)


@given(st.lists(st.integers(1, 40), max_size=20), st.integers(8, 200), st.integers(1, 60))
def test_what_is_left_fits_and_no_part_of_it_could_stay(sizes: list[int], n_ctx: int, max_tokens: int) -> None:
    messages = talk(sizes)
    num = turns_to_drop(messages, count, n_ctx=n_ctx, max_tokens=max_tokens)
    rest = without_oldest(messages, num)
    reserve = min(max_tokens, n_ctx // PART)
    assert rest[0] == SYSTEM
    assert rest[-1] == messages[-1]
    assert rest[1]["role"] == "user"
    if count(messages) + reserve <= n_ctx:
        assert num == 0
    elif num < len(sizes):
        assert count(rest) + reserve <= n_ctx
        fewer = without_oldest(messages, num - 1)
        assert count(fewer) > n_ctx - reserve - 2 * (n_ctx // PART)


def test_the_same_turns_are_left_out_for_many_turns_so_that_the_rest_stays_cached() -> None:
    dropped = [turns_to_drop(talk([10] * num), count, n_ctx=200, max_tokens=20) for num in range(60)]
    assert dropped == sorted(dropped)
    assert len(set(dropped)) <= 2 + 60 * 10 // (200 // PART)


def test_the_note_names_the_turns() -> None:
    messages = talk([4, 6])
    assert dropped_note(messages, 1).endswith("the oldest turn was left out, 'aa'")
    assert dropped_note(messages, 2).endswith("the oldest 2 turns were left out, from 'aa' to 'bbb'")


def model() -> ScriptedModel:
    letters = "abcdefghs?.\n"
    return ScriptedModel(letters, lambda _: [0.0] * 10 + [1.0, 0.0], ends=[10])


def test_messages_by_hand_lose_their_oldest_turns() -> None:
    with scripted_engine(model(), n_ctx=64) as engine:
        gen = engine.generate(talk([20, 20, 20]), max_tokens=8)
        assert gen.stats.dropped_turns == 1
        assert bytes(gen.prompt_ids) == bytes([8] + [1] * 20 + [2] * 20 + [9])
        assert "left out" in gen.notes[0]
        assert not engine.generate(talk([20, 20]), max_tokens=8).notes


def test_they_are_refused_where_that_is_asked_for() -> None:
    with scripted_engine(model(), n_ctx=64) as engine:
        with pytest.raises(PromptTooLong):
            engine.generate(talk([30, 40]), max_tokens=8, overflow="error")
        with pytest.raises(PromptTooLong):
            engine.generate([{"role": "user", "content": "a" * 64}], max_tokens=8)
        with pytest.raises(ConfigError, match="overflow"):
            engine.submit("a", overflow="drp")
