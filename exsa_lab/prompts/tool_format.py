"""How a model's own chat template writes calls of tools, found by having it write some.

Templates are programs, and each family writes calls in its own way: ``<tool_call>{"name": ...}</tool_call>`` (Hermes,
Qwen), ``{"name": ..., "parameters": ...}`` (Llama 3), ``[TOOL_CALLS] [...]`` (Mistral). A conversation with known calls
is rendered, and what stands around the names and the arguments is the format. Calls whose arguments are not JSON (XML,
Python) are not read.
"""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from exsa_lab.config import SamplingParams
from exsa_lab.errors import ConfigError, ExsaError
from exsa_lab.prompts.messages import Message
from exsa_lab.prompts.rendering import render
from exsa_lab.prompts.thinking import MARKERS
from exsa_lab.runtime.protocol import Model, TokenRules
from exsa_lab.tools import NAME, Tool, callable_tools

_HINT = "Use another model, such as one of Qwen's, or ask for a form with response_format."
_MARKER = re.compile(r"<[^<>{}\"\s]+>|\[[^\[\]{}\"\s]+\]")
_PLAIN = "\u00a7"
"""A reply that has neither its first nor its last character in common with a call."""
_IDS = ("aB3dE6gH9", "kL2nP5rS8")  # nine letters and digits, which Mistral's templates ask for
_NAMES = ("probe_first", "probe_second")
_ARGUMENTS: tuple[dict[str, Any], ...] = ({"probe_key": "probe value"}, {"probe_key": "other value"})


@dataclass(frozen=True, slots=True)
class ToolFormat:
    """What stands around the names and the arguments of calls.

    A reply is ``opening NAME middle ARGUMENTS (between NAME middle ARGUMENTS)* closing``, in which each `ID` stands
    for an id of nine letters and digits.
    """

    opening: str
    middle: str
    closing: str
    between: str | None
    """None where the template writes one call in a reply only."""
    labels: tuple[tuple[int, str], ...] = ()
    """Control tokens among them, which have no text otherwise, and their texts."""

    @property
    def marker(self) -> str:
        """What begins calls anywhere in a reply; empty where they are known by the whole opening, at its start."""
        found = _MARKER.match(self.opening)
        if found is None:
            return self.opening if self.opening[0] in "<[" else ""
        return found[0]


ID = "\ufffc"
"""Stands for the id of a call; no template writes this character."""


def needed_format(params: SamplingParams, model: Model) -> ToolFormat | None:
    """Return how the model writes calls, None where a request lets it call nothing; raises as `tool_format` does."""
    return tool_format(model) if callable_tools(params.tools, params.tool_choice) else None


def tool_format(model: Model) -> ToolFormat:
    """Return how the model's template writes calls; raises ConfigError where it knows no tools, or writes them so that
    their arguments are not JSON."""
    if model.chat_template is None:
        raise ConfigError(f"{model.name} has no chat template, so it takes no tools.", hint=_HINT)
    found = _format_of(model.chat_template, model.token_rules, _labels(model))
    if isinstance(found, str):
        raise ConfigError(found.format(name=model.name), hint=_HINT)
    return found


def _labels(model: Model) -> tuple[str, str]:
    rules = model.token_rules
    label = [model.token_label(token) if token is not None else "" for token in (rules.bos, rules.eos)]
    return label[0], label[1]


@functools.lru_cache(maxsize=32)
def _format_of(source: str, rules: TokenRules, labels: tuple[str, str]) -> ToolFormat | str:
    """The format, or why there is none."""
    ends = [token.text for token in rules.specials if token.id in rules.ends and token.text]
    probe = _Probe(source, labels, ends)
    if not probe.reads_tools():
        return "{name}'s chat template does not take tools."
    parts = probe.parts()
    if parts is None:
        return "{name}'s chat template writes calls of tools in a way that is not read here."
    text = "".join(filter(None, parts))
    used = tuple((token.id, token.text) for token in rules.specials if token.is_control and token.text in text)
    return ToolFormat(*parts, labels=used)


class _Probe:
    """Has one template write conversations with known calls."""

    def __init__(self, source: str, labels: tuple[str, str], ends: Iterable[str]) -> None:
        self._source = source
        self._labels = labels
        self._ends = [*ends, labels[1]]

    def reads_tools(self) -> bool:
        text = self._rendered(0)
        return text is not None and all(name in text for name in _NAMES)

    def parts(self) -> tuple[str, str, str, str | None] | None:
        """Return (opening, middle, closing, between)."""
        one = self._reply(1)
        cut = None if one is None else _split(one, 0)
        if cut is None:
            return None
        opening, middle, closing = _without_thought(cut[0]), cut[1], self._until_end(cut[2])
        if not opening or opening[0] not in "<[{" or not middle or NAME.match(middle):
            return None  # nothing to know a call by, or where its name ends
        two = self._reply(2)
        return opening, middle, closing, None if two is None else _between(two, opening, middle, closing)

    def _until_end(self, text: str) -> str:
        """Cut it off where the reply ends."""
        places = [at for end in self._ends if end and (at := text.find(end)) >= 0]
        return text[: min(places, default=len(text))]

    def _reply(self, num_calls: int) -> str | None:
        """Return a reply of nothing but calls: what is left of it beside a plain one."""
        text, plain = self._rendered(num_calls), self._rendered(-1)
        if text is None or plain is None or _PLAIN not in plain:
            return None
        before = _common(text, plain)
        if "<" in before.rpartition(">")[2]:  # a marker's first half: both go on with one
            before = before.rpartition("<")[0]
        rest, plain_rest = text[len(before) :], plain[len(before) :]
        after = _common(rest[::-1], plain_rest[::-1])[::-1]
        if ">" in after.partition("<")[0]:  # a marker's second half
            after = after.partition(">")[2]
        return rest[: len(rest) - len(after)]

    def _rendered(self, calls: int) -> str | None:
        """``calls``: so many of them as the assistant's reply, -1: a plain reply, 0: the reply is still to come."""
        messages: list[Message] = [{"role": "user", "content": "Hi"}]
        if calls:
            messages = [*messages, {"role": "assistant", "content": _PLAIN if calls < 0 else "", **_calls(calls)}]
        bos, eos = self._labels
        values: dict[str, Any] = {
            "messages": messages,
            "tools": _TOOLS,
            "documents": None,
            "bos_token": bos,
            "eos_token": eos,
        }
        values["add_generation_prompt"] = not calls
        for given in (values, {**values, "messages": [_with_json_arguments(each) for each in messages]}):
            try:
                text = str(render(self._source, given))
            except ExsaError:
                continue
            if not any(repr(arguments) in text for arguments in _ARGUMENTS):
                return text
        return None


def _calls(num: int) -> dict[str, Any]:
    calls = [
        {"id": id, "type": "function", "function": {"name": name, "arguments": arguments}}
        for id, name, arguments in zip(_IDS, _NAMES, _ARGUMENTS, strict=True)
    ]
    return {"tool_calls": calls[:num]} if num > 0 else {}


def _with_json_arguments(message: Message) -> Message:
    calls = [
        {**call, "function": {**call["function"], "arguments": json.dumps(call["function"]["arguments"])}}
        for call in message.get("tool_calls", ())
    ]
    return {**message, "tool_calls": calls} if calls else message


def _tool(name: str) -> Tool:
    schema = {
        "type": "object",
        "properties": {"probe_key": {"type": "string", "description": "a key"}},
        "required": ["probe_key"],
    }
    return {"type": "function", "function": {"name": name, "description": "a tool", "parameters": schema}}


_TOOLS = [_tool(name) for name in _NAMES]


def _common(one: str, other: str) -> str:
    """What two texts begin with alike."""
    num = next((at for at, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))
    return one[:num]


def _split(text: str, number: int) -> tuple[str, str, str] | None:
    """Cut a text at the name and the arguments of a call that it holds once; None where these are not there as JSON."""
    before, _, rest = text.partition(_NAMES[number])
    at = rest.rfind("{", 0, max(0, rest.find('"probe_key"')))
    if at < 0 or _NAMES[number] in rest:
        return None
    try:
        arguments, end = json.JSONDecoder().raw_decode(rest, at)
    except ValueError:
        return None
    parts = (before, rest[:at], rest[end:])
    return tuple(map(_without_ids, parts)) if arguments == _ARGUMENTS[number] else None  # type: ignore[return-value]


def _between(text: str, opening: str, middle: str, closing: str) -> str | None:
    """What stands between two calls, where all else is as with one."""
    first, _, _ = text.partition(_NAMES[1])
    one, two = _split(first, 0), _split(text, 1)
    if one is None or two is None or (_without_thought(one[0]), one[1], two[1]) != (opening, middle, middle):
        return None
    return one[2] if two[2].startswith(closing) else None


def _without_thought(text: str) -> str:
    """Drop the blanks and the empty thought that a template writes before the calls."""
    text = text.lstrip()
    for begin, end, _ in MARKERS:
        thought, marker, rest = text.partition(end)
        if marker and thought.startswith(begin):
            return rest.lstrip()
    return text


def _without_ids(text: str) -> str:
    for id in _IDS:
        text = text.replace(id, ID)
    return text
