"""Replies that call tools, through the whole engine."""

from __future__ import annotations

import json
from typing import Any

import jsonschema
import pytest

from exsa_lab.config import SamplingParams
from exsa_lab.engine.engine import Engine
from exsa_lab.errors import ConfigError
from exsa_lab.prompts.tool_format import tool_format
from exsa_lab.structure.tools import form_of
from exsa_lab.testing import scripted_engine
from tests.prompts.tool_models import CLOCK, HERMES, LLAMA, MISTRAL, PLAIN, TOOL_CALLS, WEATHER, XML, reply_model

TOOLS = [WEATHER, CLOCK]
CALLS = {
    "hermes": '<tool_call>\n{"name": "weather", "arguments": {"city": "Linz"}}\n</tool_call>',
    "llama": '{"name": "weather", "parameters": {"city": "Linz"}}',
    "mistral": '[TOOL_CALLS] [{"name": "weather", "arguments": {"city": "Linz"}, "id": "a1B2c3D4e"}]',
}
TEMPLATES = {"hermes": HERMES, "llama": LLAMA, "mistral": MISTRAL}
families = pytest.mark.parametrize("family", TEMPLATES)


def engine_on(family: str, reply: str, **config: Any) -> Engine:
    return scripted_engine(reply_model(TEMPLATES[family], reply), **config)


def arguments_of(gen: Any) -> list[tuple[str, Any]]:
    return [(call["function"]["name"], call["function"]["arguments"]) for call in gen.tool_calls]


@families
def test_a_call_is_found_in_a_free_reply(family: str) -> None:
    with engine_on(family, CALLS[family]) as engine:
        gen = engine.generate("Weather?", tools=TOOLS, max_tokens=200)
    assert gen.finish_reason == "stop"
    assert arguments_of(gen) == [("weather", {"city": "Linz"})]
    assert gen.answer == ""
    assert {call["type"] for call in gen.tool_calls} == {"function"}
    assert len({call["id"] for call in gen.tool_calls}) == 1


@families
def test_a_free_reply_may_be_text(family: str) -> None:
    with engine_on(family, "I {do} <not> call [it].") as engine:
        gen = engine.generate("Weather?", tools=TOOLS, max_tokens=200)
    assert (gen.answer, gen.tool_calls) == ("I {do} <not> call [it].", [])


@pytest.mark.parametrize("family", ["hermes", "mistral"])
def test_text_may_stand_before_a_call(family: str) -> None:
    with engine_on(family, f"I look.\n{CALLS[family]}") as engine:
        gen = engine.generate("Weather?", tools=TOOLS, max_tokens=200)
    assert gen.answer == "I look."
    assert arguments_of(gen) == [("weather", {"city": "Linz"})]


@families
@pytest.mark.parametrize("choice", ["required", {"type": "function", "function": {"name": "weather"}}], ids=str)
def test_a_call_that_is_asked_for_comes_whatever_the_model_would_say(family: str, choice: Any) -> None:
    with engine_on(family, "No.") as engine:
        gens = [
            engine.generate(
                "Weather?", tools=TOOLS, tool_choice=choice, max_tokens=400, seed=seed, temperature=float(seed > 0)
            )
            for seed in range(4)
        ]
    for gen in gens:
        if gen.finish_reason == "length":
            continue
        assert gen.tool_calls
        for name, arguments in arguments_of(gen):
            schemas = {tool["function"]["name"]: tool["function"].get("parameters", {}) for tool in TOOLS}
            jsonschema.validate(arguments, schemas[name])
            assert choice == "required" or name == "weather"
    assert any(gen.finish_reason == "stop" for gen in gens)


@families
def test_arguments_follow_the_schema_in_a_free_reply_too(family: str) -> None:
    with engine_on(family, CALLS[family].replace("Linz", "Rome")) as engine:
        gen = engine.generate("Weather?", tools=TOOLS, max_tokens=200)
    assert all(call[1]["city"] in ("Graz", "Linz") for call in arguments_of(gen) if call[0] == "weather")
    assert gen.tool_calls


@pytest.mark.parametrize("family", ["hermes", "mistral"])
@pytest.mark.parametrize("is_parallel", [True, False])
def test_several_calls_where_they_are_allowed(family: str, is_parallel: bool) -> None:
    format = tool_format(reply_model(TEMPLATES[family], ""))
    assert format.between is not None
    end = format.closing.replace("\ufffc", "a1B2c3D4e")
    more = format.between.replace("\ufffc", "a1B2c3D4e") + f"clock{format.middle}{{}}{end}"
    with engine_on(family, CALLS[family].removesuffix(end) + more) as engine:
        gen = engine.generate("Weather?", tools=TOOLS, parallel_tool_calls=is_parallel, max_tokens=300)
    expected = [("weather", {"city": "Linz"}), ("clock", {})]
    assert arguments_of(gen) == (expected if is_parallel else expected[:1])
    assert len({call["id"] for call in gen.tool_calls}) == len(gen.tool_calls)


@families
def test_calls_and_results_go_back_as_messages(family: str) -> None:
    with engine_on(family, CALLS[family]) as engine:
        gen = engine.generate("Weather?", tools=TOOLS, max_tokens=200)
        (call,) = gen.tool_calls
        messages = [
            {"role": "user", "content": "Weather?"},
            {"role": "assistant", "content": gen.answer, "tool_calls": gen.tool_calls},
            {"role": "tool", "tool_call_id": call["id"], "content": "3 degrees"},
        ]
        again = engine.generate(messages, tools=TOOLS, max_tokens=10)
        prompt = bytes(token for token in again.prompt_ids if token < 256).decode()
    assert '"city": "Linz"' in prompt
    assert TOOL_CALLS not in again.prompt_ids or family == "mistral"


def test_none_shows_the_model_no_tools() -> None:
    with engine_on("hermes", "No.") as engine:
        gen = engine.generate("Weather?", tools=TOOLS, tool_choice="none", max_tokens=10)
    assert gen.text == "No."
    assert b"weather" not in bytes(token for token in gen.prompt_ids if token < 256)


def test_json_or_calls() -> None:
    wanted = {
        "type": "json_schema",
        "schema": {"type": "object", "properties": {"a": {"type": "boolean"}}, "required": ["a"]},
    }
    params: dict[str, Any] = {"tools": TOOLS, "response_format": wanted, "max_tokens": 200}
    with engine_on("hermes", '{"a": true}') as engine:
        assert engine.generate("?", **params).parsed == {"a": True}
    with engine_on("hermes", CALLS["hermes"]) as engine:
        assert arguments_of(engine.generate("?", **params)) == [("weather", {"city": "Linz"})]


def test_a_reply_that_goes_on_where_its_call_was_cut_off() -> None:
    with engine_on("hermes", CALLS["hermes"]) as engine:
        whole = engine.generate("Weather?", tools=TOOLS, max_tokens=200)
        first = engine.generate("Weather?", tools=TOOLS, max_tokens=50)
        assert (first.finish_reason, first.tool_calls) == ("length", [])
        rest = first.more(max_tokens=200)
        assert first.text + rest.result() == whole.text


def test_drafts_change_nothing() -> None:
    reply = f"Well {CALLS['hermes']}"
    model, draft = reply_model(HERMES, reply), reply_model(HERMES, reply.replace("Linz", "Lynx"))
    with scripted_engine(model, draft) as engine:
        plain = engine.generate("Weather?", tools=TOOLS, max_tokens=200, draft_length=0)
        for way in ({"drafter": "model", "draft_length": 3}, {"drafter": "ngram", "draft_length": 4}, {}):
            gen = engine.generate("Weather?", tools=TOOLS, max_tokens=200, **way)
            assert gen.text == plain.text
            assert gen.tool_calls[0]["function"] == plain.tool_calls[0]["function"]


@pytest.mark.parametrize("template", [PLAIN, XML], ids=["no tools", "no JSON"])
def test_a_model_without_tools_refuses_them(template: str) -> None:
    with scripted_engine(reply_model(template, "Hi")) as engine:
        with pytest.raises(ConfigError, match="tools"):
            engine.submit("Weather?", tools=TOOLS)
        assert engine.generate("Weather?", tools=TOOLS, tool_choice="none").text == "Hi"


def test_a_schema_that_cannot_be_held_to_is_named() -> None:
    tool = {
        "type": "function",
        "function": {"name": "f", "parameters": {"properties": {"a": {"not": {"type": "null"}}}}},
    }
    with engine_on("hermes", "Hi") as engine, pytest.raises(ConfigError, match="the schema of the tools"):
        engine.generate("?", tools=[tool])


def test_schemas_that_are_too_long() -> None:
    tool = json.loads(json.dumps(CLOCK))
    tool["function"]["parameters"] = {"properties": {"a": {"enum": ["x" * (1 << 18)]}}}
    params = SamplingParams.from_kwargs(tools=[tool])
    with pytest.raises(ConfigError, match="characters long"):
        form_of(params, tool_format(reply_model(HERMES, "")))
