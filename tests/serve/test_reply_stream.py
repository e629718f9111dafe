"""Calls of tools over HTTP: whole and streamed the same, in OpenAI's shapes."""

from __future__ import annotations

import json
from typing import Any

import pytest

from exsa_lab.events import TokenEvent
from exsa_lab.prompts.thinking import Thinking
from exsa_lab.serve.reply_stream import ReplyStream, message_of
from exsa_lab.testing import scripted_engine
from tests.prompts.tool_models import CLOCK, HERMES, LLAMA, MISTRAL, PLAIN, WEATHER, reply_model
from tests.serve.parts import chat, chunks, serving

TEMPLATES = {"hermes": HERMES, "llama": LLAMA, "mistral": MISTRAL}
CALLS = {
    "hermes": '<tool_call>\n{"name": "weather", "arguments": {"city": "Linz"}}\n</tool_call>',
    "llama": '{"name": "weather", "parameters": {"city": "Linz"}}',
    "mistral": '[TOOL_CALLS] [{"name": "weather", "arguments": {"city": "Linz"}, "id": "a1B2c3D4e"}]',
}
ASK: dict[str, Any] = {
    "messages": [{"role": "user", "content": "Weather?"}],
    "max_tokens": 200,
    "tools": [WEATHER, CLOCK],
}


def put_together(pieces: list[dict[str, Any]]) -> dict[str, Any]:
    """The message that a client makes of the pieces of a stream."""
    content, calls = "", dict[int, dict[str, Any]]()
    for choice in (choice for piece in pieces for choice in piece["choices"]):
        content += choice["delta"].get("content") or ""
        for part in choice["delta"].get("tool_calls", []):
            call = calls.setdefault(part["index"], {"id": part.get("id"), "function": {"name": "", "arguments": ""}})
            for name, value in part["function"].items():
                call["function"][name] += value
    return {"content": content, "calls": [(call["id"], call["function"]) for call in calls.values()]}


@pytest.mark.parametrize("family", TEMPLATES)
def test_whole_and_streamed(family: str) -> None:
    text = "" if family == "llama" else "I look."
    with serving(reply_model(TEMPLATES[family], f"{text}\n{CALLS[family]}")) as server:
        whole = chat(server, **ASK).json()["choices"][0]
        pieces = chunks(chat(server, **ASK, stream=True))
    made = put_together(pieces)
    (call,) = whole["message"]["tool_calls"]
    assert whole["finish_reason"] == pieces[-1]["choices"][0]["finish_reason"] == "tool_calls"
    assert call["type"] == "function"
    assert call["function"] == {"name": "weather", "arguments": '{"city": "Linz"}'}
    assert whole["message"]["content"] == (text or None)
    assert made["content"] == text
    assert [function for _, function in made["calls"]] == [call["function"]]
    assert all(id for id, _ in made["calls"])


def test_a_reply_without_calls() -> None:
    with serving(reply_model(HERMES, "It is <b>fine</b>.")) as server:
        whole = chat(server, **ASK).json()["choices"][0]
        streamed = put_together(chunks(chat(server, **ASK, stream=True)))
    assert (whole["message"]["content"], whole["finish_reason"]) == ("It is <b>fine</b>.", "stop")
    assert "tool_calls" not in whole["message"]
    assert streamed == {"content": "It is <b>fine</b>.", "calls": []}


def test_a_call_that_was_cut_off_is_there_as_far_as_it_came() -> None:
    with serving(reply_model(HERMES, CALLS["hermes"])) as server:
        choice = chat(server, **{**ASK, "max_tokens": 50}).json()["choices"][0]
    assert choice["finish_reason"] == "length"
    arguments = choice["message"]["tool_calls"][0]["function"]["arguments"]
    assert '{"city": "Linz"}'.startswith(arguments)


@pytest.mark.parametrize("choice", ["required", {"type": "function", "function": {"name": "clock"}}], ids=str)
def test_calls_that_are_asked_for(choice: Any) -> None:
    with serving(reply_model(HERMES, "No.")) as server:
        reply = chat(server, **ASK, tool_choice=choice, parallel_tool_calls=False).json()["choices"][0]
    names = [call["function"]["name"] for call in reply["message"]["tool_calls"]]
    assert names == ["clock"] or choice == "required"
    assert all(isinstance(json.loads(call["function"]["arguments"]), dict) for call in reply["message"]["tool_calls"])


@pytest.mark.parametrize(
    ("fields", "param", "what"),
    [
        ({"tools": [{"type": "web"}]}, "tools", "tool 0 is"),
        ({"tools": [CLOCK], "tool_choice": "clock"}, "tool_choice", "tool_choice is"),
        ({"tool_choice": "required"}, "tool_choice", "there are no tools"),
        ({"tools": [CLOCK], "parallel_tool_calls": 1}, "parallel_tool_calls", "parallel_tool_calls"),
        ({"tools": [CLOCK]}, None, "does not take tools"),
    ],
)
@pytest.mark.parametrize("streams", [False, True])
def test_what_cannot_be_is_a_400(fields: dict[str, Any], param: str | None, what: str, streams: bool) -> None:
    with serving(reply_model(PLAIN, "Hi")) as server:
        reply = chat(server, messages=ASK["messages"], stream=streams, **fields)
    assert reply.status_code == 400
    error = reply.json()["error"]
    assert (error["param"], error["type"]) == (param, "invalid_request_error")
    assert what in error["message"]


def test_tools_that_fit_no_context_are_refused_before_they_are_read() -> None:
    tool = {"type": "function", "function": {"name": "f", "description": "x" * 100_000}}
    with serving(reply_model(HERMES, "Hi"), n_ctx=2048) as server:
        reply = chat(server, messages=ASK["messages"], tools=[tool])
    assert (reply.status_code, reply.json()["error"]["code"]) == (400, "context_length_exceeded")


def test_a_thought_before_a_call() -> None:
    template = HERMES + "{# <think> </think> #}"
    with scripted_engine(reply_model(template, f"<think>Hm.</think>\n\nWell\n{CALLS['hermes']}")) as engine:
        gen = engine.generate(ASK["messages"], max_tokens=200, tools=[WEATHER])
    assert gen.thinking == Thinking("<think>", "</think>")
    stream = ReplyStream(gen)
    deltas = [stream.add([event]) for event in gen.events if isinstance(event, TokenEvent)]
    deltas.append(stream.finish())
    message = message_of(gen)
    assert (message["reasoning_content"], message["content"]) == ("Hm.", "Well")
    for field in ("reasoning_content", "content"):
        assert "".join(delta.get(field, "") for delta in deltas) == message[field]
    assert stream.has_calls
