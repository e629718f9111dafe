"""Prompts that are tokens already."""

from __future__ import annotations

from typing import Any

import pytest

from exsa_lab.errors import ConfigError
from exsa_lab.prompts.token_prompt import is_tokens, token_prompt
from exsa_lab.testing import ScriptedModel, scripted_engine

PIECES = ["a", "b", b"\xf0\x9f", b"\x98\x80", "<end>"]


def follow(tokens: tuple[int, ...]) -> list[float]:
    """Each token is followed by the next one."""
    return [float(token == min(tokens[-1] + 1, 4)) for token in range(5)]


MODEL = ScriptedModel(PIECES, follow, ends=[4])


@pytest.mark.parametrize(
    "prompt", ["a", [], ["a"], [1, "a"], [True], [1.0], [{"role": "user", "content": "a"}], None, 3]
)
def test_what_is_no_list_of_tokens(prompt: Any) -> None:
    assert not is_tokens(prompt)


def test_tokens_are_taken_as_they_are_and_have_a_text_to_show() -> None:
    with scripted_engine(MODEL) as engine:
        gen = engine.generate([0, 0], chat=False, max_tokens=1)
        assert (gen.prompt_ids, gen.prompt, gen.text) == ([0, 0], "aa", "b")
        assert engine.generate("aa", chat=False, max_tokens=1).tokens == gen.tokens


def test_a_character_that_the_prompt_ends_in_is_completed() -> None:
    with scripted_engine(MODEL) as engine:
        assert engine.generate([0, 2], chat=False, max_tokens=1).text == "\U0001f600"


@pytest.mark.parametrize("tokens", [[0, 5], [-1], [1 << 70]])
def test_a_token_that_the_model_does_not_have_is_refused(tokens: list[int]) -> None:
    with pytest.raises(ConfigError, match="tokens from 0 to 4"):
        token_prompt(tokens, MODEL, chat=False)


def test_a_chat_is_no_list_of_tokens() -> None:
    with scripted_engine(MODEL) as engine, pytest.raises(ConfigError, match="chat=False"):
        engine.submit([0, 1])


def test_what_goes_on_with_it_and_what_leaves_it_begin_with_its_tokens() -> None:
    with scripted_engine(MODEL) as engine:
        gen = engine.generate([0], chat=False, max_tokens=1)
        assert gen.more(max_tokens=1).result() == ""
        other = gen.branch(0, 0, max_tokens=1)
        assert (other.result(), other.prompt_ids) == ("a", [0])
