"""Compare how exsa_lab renders chat templates with jinja2 itself, which bounds nothing.

    python scripts/check_templates.py DIR [--hashes]

DIR holds ``*.jinja`` files, such as vendor/llama.cpp/models/templates in llama-cpp-python's source archive. Each is
rendered for several conversations, with tools and with thinking on and off, by both. ``--hashes`` lists the files as
exsa_lab/prompts/known_templates.txt does. Do not run it on templates you do not trust: the reference is not bounded.
"""

from __future__ import annotations

import argparse
import datetime
import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jinja2
from jinja2 import nodes
from jinja2.ext import Extension
from jinja2.sandbox import ImmutableSandboxedEnvironment

from exsa_lab.prompts.rendering import hash_of
from exsa_lab.prompts.template import ChatTemplate

USER, SYSTEM = {"role": "user", "content": "Hi <b> & 'you'"}, {"role": "system", "content": "Be brief."}
ASSISTANT = {"role": "assistant", "content": "Hello\nyou"}
THOUGHT = {"role": "assistant", "content": "<think>\nhm\n</think>\n\nyes", "reasoning_content": "hm"}
ARGUMENTS = {"city": "Graz", "days": 2}
CALL = {"id": "abcdefghi", "type": "function", "function": {"name": "weather", "arguments": ARGUMENTS}}
RESULT = {"role": "tool", "content": '{"degrees": 3}', "tool_call_id": "abcdefghi", "name": "weather"}
_PROPERTIES = {
    "city": {"type": "string", "description": 'where "now"', "enum": ["Graz", "Linz"]},
    "days": {"type": "integer"},
}
TOOL = {
    "type": "function",
    "function": {
        "name": "weather",
        "description": "The weather",
        "parameters": {"type": "object", "properties": _PROPERTIES, "required": ["city"]},
    },
}
CONVERSATIONS: dict[str, list[dict[str, Any]]] = {
    "user": [USER],
    "system and user": [SYSTEM, USER],
    "three turns": [USER, ASSISTANT, USER],
    "a thought": [USER, THOUGHT, USER],
    "an unanswered reply": [USER, ASSISTANT],
    "a tool call": [SYSTEM, USER, {"role": "assistant", "content": "", "tool_calls": [CALL]}, RESULT],
}
VARIABLES: dict[str, dict[str, Any]] = {
    "plain": {},
    "thinking": {"enable_thinking": True, "thinking": True, "reasoning_effort": "high"},
    "no thinking": {"enable_thinking": False, "thinking": False},
    "tools": {"tools": [TOOL]},
    "no generation prompt": {"add_generation_prompt": False},
}


class _Generation(Extension):
    tags = {"generation"}  # noqa: RUF012 - jinja2's own interface

    def parse(self, parser: Any) -> nodes.Node:
        line = next(parser.stream).lineno
        return nodes.Scope(parser.parse_statements(("name:endgeneration",), drop_needle=True), lineno=line)


def reference(source: str) -> jinja2.Template:
    """Compile a template as transformers does."""
    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols", _Generation]
    )

    def to_json(value: Any, ensure_ascii: bool = False, **options: Any) -> str:
        plain = list(value) if isinstance(value, Iterator) else value
        return json.dumps(plain, ensure_ascii=ensure_ascii, **options)

    def refuse(message: str) -> None:
        raise jinja2.TemplateError(message)

    environment.filters |= {"tojson": to_json, "from_json": json.loads}
    environment.globals |= {
        "raise_exception": refuse,
        "strftime_now": lambda layout: datetime.datetime.now().strftime(layout),
    }
    return environment.from_string(source)


@dataclass
class Counts:
    """What a comparison found."""

    same: int = 0
    both_refuse: int = 0
    differences: list[str] = field(default_factory=list)


def compare(name: str, source: str, counts: Counts) -> None:
    """Render one template in all ways, by both."""
    for conversation, messages in CONVERSATIONS.items():
        for variables, more in VARIABLES.items():
            given = {"tools": None, "documents": None, "bos_token": "<s>", "eos_token": "</s>"}
            values = {"messages": messages, "add_generation_prompt": True, **given, **more}
            expected, found = _text(reference, source, values), _ours(source, values)
            if expected is None and found is None:
                counts.both_refuse += 1
            elif expected == found:
                counts.same += 1
            else:
                counts.differences.append(f"{name}, {conversation}, {variables}: {_difference(expected, found)}")


def _text(compiled: Any, source: str, values: dict[str, Any]) -> str | None:
    try:
        return str(compiled(source).render(**values))
    except Exception:  # Whatever a template provokes.
        return None


def _ours(source: str, values: dict[str, Any]) -> str | None:
    try:
        return str(ChatTemplate(source).render(values))
    except Exception:
        return None


def _difference(expected: str | None, found: str | None) -> str:
    if expected is None or found is None:
        return "only jinja2 refuses it" if expected is None else "only exsa_lab refuses it"
    at = next(
        (i for i, (a, b) in enumerate(zip(expected, found, strict=False)) if a != b), min(len(expected), len(found))
    )
    return f"at character {at}: {expected[at : at + 40]!r} and {found[at : at + 40]!r}"


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(description="Compare chat templates with jinja2 itself.")
    parser.add_argument("folder", type=Path, metavar="DIR")
    parser.add_argument("--hashes", action="store_true", help="list the files with their hashes instead")
    options = parser.parse_args(arguments)
    files = sorted(options.folder.glob("*.jinja"))
    counts = Counts()
    for path in files:
        source = path.read_text(encoding="utf-8")
        if options.hashes:
            print(f"{hash_of(source)}  {path.stem}")
        else:
            compare(path.name, source, counts)
    if options.hashes:
        return 0
    num = counts.same + counts.both_refuse + len(counts.differences)
    print(f"{len(files)} templates, {num} renderings: {counts.same} the same, {counts.both_refuse} refused by both.")
    print(*counts.differences, sep="\n", end="\n" if counts.differences else "")
    return 1 if counts.differences or not files else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
