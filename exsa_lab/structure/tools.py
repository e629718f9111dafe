"""The form of a reply that may, or must, call tools."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from typing import Any

from exsa_lab.config import SamplingParams
from exsa_lab.errors import ConfigError
from exsa_lab.forms import MAX_FORM, Form
from exsa_lab.prompts.tool_calls import ID_CHARS
from exsa_lab.prompts.tool_format import ID, ToolFormat
from exsa_lab.structure.grammar import JSON_STYLE
from exsa_lab.tools import Tool, callable_tools, name_of

_ANY_TEXT = "/(.|\\n)*/"


def form_of(params: SamplingParams, format: ToolFormat | None) -> Form | None:
    """Return the form of a request's text; None where it has any. ``format`` is how the model writes calls.

    Raises ConfigError where the schemas are too long.
    """
    tools = callable_tools(params.tools, params.tool_choice)
    if not tools or format is None:
        return params.form
    source = _Source(format, tools, is_parallel=params.parallel_tool_calls)
    content = params.form
    is_required = params.tool_choice != "auto"
    schema = None if content is None or content.kind != "json" else json.loads(content.text)
    form = Form("tools", source.required() if is_required else source.optional(schema))
    if len(form.text) > MAX_FORM:
        raise ConfigError(
            f"the schemas of the tools are {len(form.text):,} characters long.",
            hint=f"At most {MAX_FORM:,} are read: give fewer tools, or smaller ones.",
        )
    return form


class _Source:
    """A Lark grammar as llguidance reads it."""

    def __init__(self, format: ToolFormat, tools: Iterable[Tool], *, is_parallel: bool) -> None:
        self._format = format
        self._tools = list(tools)
        self._repeats = is_parallel and format.between is not None
        self._controls = {text: token for token, text in format.labels}

    def required(self) -> str:
        """Calls and nothing else."""
        return "\n".join([f"start: {self._literal(self._format.opening)} calls", *self._rules()])

    def optional(self, schema: Any) -> str:
        """Text, which calls may follow; or JSON of a schema instead of text."""
        marker, opening = self._format.marker, self._format.opening
        text = "TEXT" if schema is None else _json(schema)
        if not marker:
            return "\n".join(
                [
                    f"start: {text} | OPENING calls",
                    f"OPENING: /\\s*{_escaped(opening)}/",
                    f"TEXT: /(?s:.*)/ & ~/\\s*{_escaped(opening)}(?s:.*)/",
                    *self._rules(),
                ]
            )
        head = "" if schema is not None else "TEXT "
        if marker in self._controls:
            begun = f"begun: {head}<[{self._controls[marker]}]>"
        else:
            begun = f"begun[lazy]: {head}{json.dumps(marker, ensure_ascii=False)}"
        start = f"start: {text} | begun {self._literal(opening[len(marker) :])} calls"
        return "\n".join([start, begun, f"TEXT: {_ANY_TEXT}", *self._rules()])

    def _rules(self) -> list[str]:
        more = f"({self._literal(self._format.between or '')} call)*" if self._repeats else ""
        names = " | ".join(f"call_{index}" for index in range(len(self._tools)))
        rules = [f"calls: call {more} {self._literal(self._format.closing)}", f"call: {names}"]
        for index, tool in enumerate(self._tools):
            begin = self._literal(name_of(tool) + self._format.middle)
            rules.append(f"call_{index}: {begin} {_json(_strict(tool['function']['parameters']))}")
        return rules

    def _literal(self, text: str) -> str:
        """A text as it stands, with its control tokens by number."""
        names = [*map(re.escape, sorted(self._controls, key=len, reverse=True)), ID]
        parts = re.split(f"({'|'.join(names)})", text)
        return " ".join(map(self._part, filter(None, parts)))

    def _part(self, text: str) -> str:
        if text == ID:
            return f"/[a-zA-Z0-9]{{{ID_CHARS}}}/"
        if text in self._controls:
            return f"<[{self._controls[text]}]>"
        return json.dumps(text, ensure_ascii=False)


def _json(schema: Any) -> str:
    return f"%json {json.dumps({**schema, 'x-guidance': JSON_STYLE})}"


def _strict(schema: dict[str, Any]) -> dict[str, Any]:
    """Arguments that a function does not name are not made up, unless its schema asks for them."""
    return schema if "additionalProperties" in schema or "$ref" in schema else {**schema, "additionalProperties": False}


def _escaped(text: str) -> str:
    """A text in a regular expression between slashes."""
    return re.sub(r"([\\/.^$*+?()\[\]{}|\"])", r"\\\1", text).replace("\n", "\\n")
