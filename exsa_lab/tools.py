"""Tools that a model may call, as users give them (OpenAI's way), checked and copied."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from exsa_lab.errors import ConfigError, shown
from exsa_lab.plain import plain

MAX_TOOLS = 128
NAME = re.compile(r"[A-Za-z0-9_.-]{1,64}")
"""What a function may be called."""
CHOICES = ("none", "auto", "required")
NO_ARGUMENTS = {"type": "object", "properties": {}, "additionalProperties": False}
"""Schema of a function that takes nothing."""
_LIKE = '{"type": "function", "function": {"name": "weather", "parameters": {...}}}'
_LIKE_CHOICE = '{"type": "function", "function": {"name": "weather"}}'

Tool = dict[str, Any]


def own_tools(value: object) -> tuple[Tool, ...]:
    """Return a checked copy of a list of tools; raises ConfigError where one is not a function with a schema."""
    if value is None:
        return ()
    if not isinstance(value, list | tuple) or len(value) > MAX_TOOLS:
        raise ConfigError(f"tools is {shown(value)}.", hint=f"It must be a list of at most {MAX_TOOLS}, each {_LIKE}.")
    tools = tuple(_own_tool(tool, f"tool {index}") for index, tool in enumerate(value))
    names = [name_of(tool) for tool in tools]
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise ConfigError(f"two tools have the name {twice!r}.", hint="Rename one of them.")
    return tools


def _own_tool(value: object, what: str) -> Tool:
    tool = plain(value, what)
    function = tool.get("function") if isinstance(tool, dict) and tool.get("type", "function") == "function" else None
    if not isinstance(function, dict):
        raise ConfigError(f"{what} is {shown(value)}.", hint=f"It must be a function: {_LIKE}.")
    name = function.get("name")
    if not isinstance(name, str) or not NAME.fullmatch(name):
        hint = "It must be 1 to 64 letters, digits, dots, dashes and underscores."
        raise ConfigError(f"the name of {what} is {shown(name)}.", hint=hint)
    parameters = function.get("parameters")
    if parameters is None:
        parameters = NO_ARGUMENTS
    if not isinstance(parameters, dict) or parameters.get("type", "object") != "object":
        hint = 'It must be the schema of an object: {"type": "object", "properties": {...}}.'
        raise ConfigError(f"parameters of {what} ({name}) is {shown(parameters)}.", hint=hint)
    description = function.get("description")
    if description is not None and not isinstance(description, str):
        raise ConfigError(f"the description of {what} ({name}) is {shown(description)}.", hint="It must be a text.")
    # Templates read the description of every tool.
    return {
        "type": "function",
        "function": {"name": name, "description": description or "", "parameters": {"type": "object", **parameters}},
    }


def own_tool_choice(value: object, tools: tuple[Tool, ...]) -> str | Tool:
    """Return "none", "auto", "required", or the function that must be called; raises ConfigError for anything else."""
    if value is None:
        return "auto"
    names = [name_of(tool) for tool in tools]
    if isinstance(value, str) and value in CHOICES:
        if value == "required" and not names:
            raise ConfigError('tool_choice is "required" and there are no tools.', hint="Give tools.")
        return str(value)
    function = value.get("function") if isinstance(value, Mapping) and value.get("type") == "function" else None
    name = function.get("name") if isinstance(function, Mapping) else None
    if not isinstance(name, str):
        hint = f"It must be one of {', '.join(CHOICES)}, or {_LIKE_CHOICE}."
        raise ConfigError(f"tool_choice is {shown(value)}.", hint=hint)
    if name not in names:
        raise ConfigError(f"tool_choice names {shown(name)}.", hint=f"The tools are {', '.join(names) or 'none'}.")
    return {"type": "function", "function": {"name": name}}


def name_of(tool: Tool) -> str:
    return str(tool["function"]["name"])


def callable_tools(tools: tuple[Tool, ...], choice: str | Tool) -> tuple[Tool, ...]:
    """Return the tools that a choice lets the model call."""
    if isinstance(choice, str):
        return () if choice == "none" else tools
    return tuple(tool for tool in tools if name_of(tool) == name_of(choice))


def check_room_for_tools(forms: Mapping[str, object], variables: Mapping[str, Any], *, chat: bool) -> None:
    """Raise ConfigError for parameters that leave no room for calls: other forms, tools given otherwise, no chat."""
    for name, value in forms.items():
        if value is not None:
            raise ConfigError(f"{name} and tools are both given.", hint='Give one of them, or tool_choice="none".')
    if not chat:
        raise ConfigError("tools needs chat=True.", hint="The model's chat template shows them to the model.")
    if "tools" in variables:
        raise ConfigError("tools are given twice.", hint="Leave them out of chat_template_kwargs.")
