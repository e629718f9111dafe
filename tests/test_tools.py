from __future__ import annotations

from typing import Any

import pytest

from exsa_lab.config import SamplingParams
from exsa_lab.errors import ConfigError
from exsa_lab.tools import callable_tools, own_tool_choice, own_tools
from tests.prompts.tool_models import CLOCK, WEATHER

NAMED = {"type": "function", "function": {"name": "clock"}}


def _named(name: Any, **more: Any) -> list[dict[str, Any]]:
    return [{"type": "function", "function": {"name": name, **more}}]


def test_a_copy_with_description_and_schema() -> None:
    given = [WEATHER, CLOCK]
    tools = own_tools(given)
    assert tools[0] == WEATHER
    assert tools[0]["function"] is not WEATHER["function"]
    assert tools[1]["function"]["description"] == ""
    assert tools[1]["function"]["parameters"] == {"type": "object", "properties": {}, "additionalProperties": False}
    assert own_tools(None) == own_tools([]) == ()


@pytest.mark.parametrize(
    ("tools", "what"),
    [
        ("weather", "tools is 'weather'"),
        (_named("f") * 129, "tools is"),
        ([{"type": "web_search"}], "tool 0 is"),
        ([3], "tool 0 is 3"),
        (_named(None), "the name of tool 0 is None"),
        (_named("a b"), "the name of tool 0 is 'a b'"),
        (_named("x" * 65), "the name of tool 0"),
        (_named("f", parameters=[]), "parameters of tool 0"),
        (_named("f", parameters={"type": "string"}), "parameters of tool 0"),
        (_named("f", description=3), "the description of tool 0"),
        (_named("f") + _named("f"), "two tools have the name 'f'"),
        (_named("f", parameters={"x": {1, 2}}), "tool 0"),
    ],
)
def test_what_is_no_tool_is_named(tools: Any, what: str) -> None:
    with pytest.raises(ConfigError, match=what):
        own_tools(tools)


@pytest.mark.parametrize("choice", ["auto", "none", "required", NAMED])
def test_choices(choice: Any) -> None:
    assert own_tool_choice(choice, own_tools([WEATHER, CLOCK])) == choice


@pytest.mark.parametrize(
    ("choice", "what"),
    [
        ("clock", "tool_choice is 'clock'"),
        ({"type": "function", "function": {"name": "f"}}, "tool_choice names 'f'"),
        ({"type": "allowed_tools"}, "tool_choice is"),
        (3, "tool_choice is 3"),
    ],
)
def test_what_is_no_choice_is_named(choice: Any, what: str) -> None:
    with pytest.raises(ConfigError, match=what):
        own_tool_choice(choice, own_tools([WEATHER, CLOCK]))


def test_what_may_be_called() -> None:
    tools = own_tools([WEATHER, CLOCK])
    assert callable_tools(tools, "auto") == callable_tools(tools, "required") == tools
    assert callable_tools(tools, "none") == ()
    assert callable_tools(tools, own_tool_choice(NAMED, tools)) == tools[1:]


def test_parameters_keep_them_and_give_them_to_the_template() -> None:
    params = SamplingParams(tools=[WEATHER], tool_choice="required", chat_template_kwargs={"x": 1})  # type: ignore[arg-type]
    assert params.template_variables == {"x": 1, "tools": [WEATHER]}
    assert SamplingParams.from_kwargs(**params.as_json()) == params
    assert SamplingParams(tools=(WEATHER,), tool_choice="none").template_variables == {}


@pytest.mark.parametrize(
    ("params", "what"),
    [
        ({"tools": [CLOCK], "chat": False}, "tools needs chat=True"),
        ({"tools": [CLOCK], "regex": "a"}, "regex and tools"),
        ({"tools": [CLOCK], "choice": ["a"]}, "choice and tools"),
        ({"tools": [CLOCK], "chat_template_kwargs": {"tools": []}}, "tools are given twice"),
        ({"tools": [CLOCK], "parallel_tool_calls": 3}, "parallel_tool_calls is 3"),
        ({"tool_choice": "required"}, "there are no tools"),
    ],
)
def test_parameters_that_leave_no_room_for_calls(params: dict[str, Any], what: str) -> None:
    with pytest.raises(ConfigError, match=what):
        SamplingParams.from_kwargs(**params)


def test_a_form_beside_tools_that_are_not_called() -> None:
    params = SamplingParams.from_kwargs(tools=[CLOCK], tool_choice="none", regex="a")
    assert params.form is not None
