from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from exsa_lab.errors import ConfigError
from exsa_lab.prompts.messages import checked_messages, merged_system, own_prompt

HI = {"role": "user", "content": "Hi"}
CALL = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": '{"a": [1]}'}}


def test_what_is_given_is_copied() -> None:
    given: list[Any] = [{"role": "assistant", "content": "x", "tool_calls": [{"function": {"name": "f"}}]}]
    checked = checked_messages(given)
    given[0]["tool_calls"][0]["function"]["name"] = "g"
    given.append(HI)
    assert checked == [
        {
            "role": "assistant",
            "content": "x",
            "tool_calls": [{"type": "function", "function": {"name": "f", "arguments": {}}}],
        }
    ]


@pytest.mark.parametrize(
    ("message", "checked"),
    [
        (HI, HI),
        ({"role": "developer", "content": "Be brief."}, {"role": "system", "content": "Be brief."}),
        ({**HI, "name": "ann", "refusal": None, "annotations": []}, {**HI, "name": "ann"}),
        ({"role": "user", "content": [{"type": "text", "text": "a"}, "b"]}, {"role": "user", "content": "a\nb"}),
        (
            {"role": "assistant", "content": None, "tool_calls": [CALL]},
            {
                "role": "assistant",
                "content": "",
                "tool_calls": [{**CALL, "function": {"name": "f", "arguments": {"a": [1]}}}],
            },
        ),
        (
            {"role": "tool", "content": "3", "tool_call_id": "c1"},
            {"role": "tool", "content": "3", "tool_call_id": "c1"},
        ),
        (
            {"role": "assistant", "reasoning_content": "hm", "token_ids": [np.int64(3)]},
            {"role": "assistant", "reasoning_content": "hm", "token_ids": [3], "content": ""},
        ),
    ],
)
def test_messages_as_the_ecosystem_writes_them(message: dict[str, Any], checked: dict[str, Any]) -> None:
    assert checked_messages([message]) == [checked]


def test_what_a_client_returns_may_go_in_again() -> None:
    class Returned:
        def model_dump(self) -> dict[str, Any]:
            return {"role": "assistant", "content": "Hello", "audio": None, "tool_calls": None}

    assert checked_messages([HI, Returned()])[1] == {"role": "assistant", "content": "Hello"}


class Unshowable:
    def __repr__(self) -> str:
        raise RuntimeError


@pytest.mark.parametrize(
    ("messages", "error"),
    [
        ([], "non-empty list"),
        (None, "non-empty list"),
        ("Hi", "non-empty list"),
        (["Hi"], "message 0 is 'Hi'"),
        ([Unshowable()], "message 0 is"),
        ([HI, {"content": "Hi"}], "message 1 has no role"),
        ([{"role": "user"}], r"message 0 \(user\) has no content"),
        ([{"role": "assistant", "content": None}], r"message 0 \(assistant\) has no content"),
        ([{"role": "wizard", "content": "a"}], "role 'wizard'"),
        ([{"role": "usr", "content": "a"}], "Did you mean 'user'"),
        ([{"role": ["user"], "content": "a"}], "message 0 has the role"),
        ([{**HI, "contents": "b"}], r"message 0 \(user\) has the field 'contents'.*Did you mean 'content'"),
        ([{**HI, "tool_call_id": "b"}], r"message 0 \(user\) has the field 'tool_call_id'"),
        ([{**HI, 5: "b"}], "key 5"),
        ([{"role": "user", "content": 5}], r"content of message 0 \(user\) is 5"),
        ([{"role": "user", "content": b"Hi"}], r"content of message 0 \(user\) is b'Hi'"),
        ([{"role": "user", "content": []}], r"content of message 0 \(user\) is \[\]"),
        ([{"role": "user", "content": ["x", 5]}], "part 1 of the content of message 0"),
        (
            [HI, {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}],
            r"part 0 of the content of message 1 \(user\) is of type 'image_url'.*text only",
        ),
        ([{"role": "user", "content": [{"type": "text"}]}], "part 0 of the content of message 0.*has the text None"),
        ([{"role": "assistant", "content": "", "tool_calls": {"f": 1}}], "tool_calls of message 0.*are"),
        ([{"role": "assistant", "content": "", "tool_calls": ["f"]}], "call 0 in the tool_calls of message 0"),
        ([{"role": "assistant", "tool_calls": [{"function": {"name": "f", "arguments": 3}}]}], "arguments of call 0"),
        ([{"role": "assistant", "tool_calls": [{"function": {"name": {1}}}]}], "call 0 in the tool_calls"),
        ([{"role": "assistant", "content": "a", "token_ids": [1, -1]}], "token_ids of message 0"),
    ],
)
def test_one_line_names_the_message_and_the_field(messages: Any, error: str) -> None:
    with pytest.raises(ConfigError, match=error) as caught:
        checked_messages(messages)
    assert "\n" not in str(caught.value)


def test_deep_nesting_ends_in_one_line() -> None:
    deep: Any = 1
    for _ in range(10_000):
        deep = [deep]
    calls = [{"function": {"name": "f", "arguments": {"a": deep}}}]
    with pytest.raises(ConfigError, match="nested more than 32"):
        checked_messages([{"role": "assistant", "tool_calls": calls}])


@pytest.mark.parametrize("prompt", [None, b"Hi", 5, {"role": "user", "content": "Hi"}, iter([HI])])
def test_a_prompt_is_a_text_or_a_list(prompt: object) -> None:
    with pytest.raises(ConfigError, match="Give a text, or a list of messages"):
        own_prompt(prompt, chat=True)


def test_raw_completion_takes_one_text() -> None:
    assert own_prompt("a", chat=False) == "a"
    with pytest.raises(ConfigError, match="needs chat=True"):
        own_prompt([HI], chat=False)


def test_a_system_message_moves_into_the_first_user_turn() -> None:
    system = {"role": "system", "content": "Be brief."}
    assert merged_system([system, HI, HI]) == [{"role": "user", "content": "Be brief.\n\nHi"}, HI]
    assert merged_system([HI]) is None
    assert merged_system([system]) is None
