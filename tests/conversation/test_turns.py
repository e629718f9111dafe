"""Lists of messages become turns, and turns become messages again."""

from __future__ import annotations

from typing import Any

import pytest

from exsa_lab.conversation.turns import Reply, Turn, split_turns
from exsa_lab.errors import ConfigError

CALL = {"type": "function", "function": {"name": "f", "arguments": {}}}


def message(role: str, content: str, **more: Any) -> dict[str, Any]:
    return {"role": role, "content": content, **more}


def test_messages_are_split_at_the_users() -> None:
    messages = [message("system", "s"), message("user", "a"), message("assistant", "b"), message("user", "c")]
    split = split_turns(messages)
    assert split.system == "s"
    assert [turn.text for turn in split.turns] == ["a", "c"]
    assert split.turns[0].reply == Reply(messages[2])
    assert split.turns[1].reply is None
    assert [each for turn in split.turns for each in turn.messages_for("m")] == messages[1:]


def test_tools_belong_to_what_was_asked() -> None:
    messages = [
        message("user", "a"),
        message("assistant", "", tool_calls=[CALL]),
        message("tool", "4"),
        message("assistant", "b"),
    ]
    (turn,) = split_turns(messages).turns
    assert [each["role"] for each in turn.asked] == ["user", "assistant", "tool"]
    assert turn.reply is not None
    assert turn.reply.text == "b"
    assert split_turns(messages[:3]).turns[0].reply is None


def test_a_turn_without_a_reply_in_the_midst() -> None:
    messages = [message("user", "a"), message("assistant", "", tool_calls=[CALL]), message("user", "b")]
    with pytest.raises(ConfigError, match="turn 1 of the messages, 'a', has no reply"):
        split_turns(messages)
    with pytest.raises(ConfigError, match="role"):
        split_turns([{"content": "a"}])


def test_tokens_are_for_the_model_that_wrote_them() -> None:
    written = message("assistant", "b", token_ids=[1])
    assert Reply(written, model="m").message_for("m") == written
    assert Reply(written, model="m").message_for("other") == message("assistant", "b")
    assert Reply(written).message_for("m") == written


def test_json_and_back() -> None:
    turn = Turn(
        (message("user", "a"),), Reply(message("assistant", "b", token_ids=[1]), "length", "m", 5, 4, 1, 64), "k"
    )
    assert Turn.from_json(turn.to_json()) == turn
    with pytest.raises(ValueError, match="a turn is"):
        Turn.from_json([])
