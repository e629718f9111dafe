"""From a prompt to tokens, with or without the chat template."""

from __future__ import annotations

from typing import Any

import pytest

from exsa_lab.config import SamplingParams
from exsa_lab.errors import ConfigError, PromptTooLong
from exsa_lab.models.prompts import encode_prompt
from exsa_lab.testing import ScriptedModel


class Telling(ScriptedModel):
    """Notes the messages it is to render and how it is asked to tokenize."""

    def __init__(self) -> None:
        super().__init__([*"abc", " "], lambda tokens: [0.25] * 4)
        self.messages: list[list[dict[str, str]]] = []
        self.asked: list[tuple[bool, bool]] = []

    def render_chat(self, messages: list[dict[str, str]], **options: Any) -> str:
        self.messages.append(messages)
        return super().render_chat(messages, **options)

    def tokenize(self, text: str, *, add_special: bool, parse_special: bool) -> list[int]:
        self.asked.append((add_special, parse_special))
        return super().tokenize(text, add_special=add_special, parse_special=parse_special)


def encode(prompt: Any, n_ctx: int = 16, **params: Any) -> tuple[list[int], Telling]:
    model = Telling()
    return encode_prompt(model, prompt, SamplingParams.from_kwargs(**params), n_ctx), model


def test_a_text_is_one_message_of_the_user() -> None:
    tokens, model = encode("abc")
    assert tokens == [0, 1, 2]
    assert model.messages == [[{"role": "user", "content": "abc"}]]


def test_a_system_message_comes_first() -> None:
    messages = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]
    _, model = encode(messages, system="c")
    assert model.messages == [[{"role": "system", "content": "c"}, *messages]]


def test_raw_text_is_never_read_as_control_tokens() -> None:
    _, model = encode("abc", chat=False)
    assert not model.messages
    assert model.asked == [(True, False)]


@pytest.mark.parametrize("prompt", ["", "  "])
def test_an_empty_prompt_is_refused(prompt: str) -> None:
    with pytest.raises(ConfigError, match="empty"):
        encode(prompt)


def test_an_empty_raw_prompt_and_raw_messages_are_refused() -> None:
    with pytest.raises(ConfigError, match="empty"):
        encode("", chat=False)
    with pytest.raises(ConfigError, match="chat=True"):
        encode([{"role": "user", "content": "a"}], chat=False)


def test_a_prompt_leaves_room_for_a_token() -> None:
    assert len(encode("a" * 15)[0]) == 15
    with pytest.raises(PromptTooLong, match="16 tokens and the context holds 16"):
        encode("a" * 16)
