"""Conversations as the ecosystem writes them, checked and copied where they enter.

What OpenAI's API and Hugging Face's templates call messages: roles system (also developer), user, assistant and tool;
content as a text or as a list of text parts; ``tool_calls`` of the assistant.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from exsa_lab.config import did_you_mean
from exsa_lab.errors import ConfigError, shown
from exsa_lab.plain import plain, text_key

Message = dict[str, Any]
ROLES = ("system", "user", "assistant", "tool")

_COMMON = ("role", "content", "name")
_REASONING = ("reasoning_content", "reasoning", "thinking")
FIELDS: dict[str, tuple[str, ...]] = {
    "system": _COMMON,
    "user": _COMMON,
    "assistant": (*_COMMON, *_REASONING, "tool_calls", "token_ids"),
    "tool": (*_COMMON, "tool_call_id"),
}
"""The fields of a message by its role."""
_TEXT_PARTS = ("text", "input_text", "output_text")


def checked_messages(messages: object) -> list[Message]:
    """Return a deep copy of a conversation in one form, or raise ConfigError that names the message and the field.

    ``developer`` becomes ``system``; text parts are joined by line breaks; arguments of tool calls become objects where
    they are JSON of one. Fields that are None are left out. An assistant's ``token_ids`` (what it really generated) are
    kept, so that the text need not be tokenized anew.

    Example: ``checked_messages([{"role": "user", "content": "Hi"}])``.
    """
    if not isinstance(messages, list | tuple) or not messages:
        raise ConfigError(
            f"messages must be a non-empty list, not {shown(messages)}.",
            hint='Such as [{"role": "user", "content": "Hi"}].',
        )
    return [_checked(message, f"message {index}") for index, message in enumerate(messages)]


def merged_system(messages: list[Message]) -> list[Message] | None:
    """Return the conversation with its first system message at the head of the first user turn; None without both."""
    if messages[0]["role"] != "system":
        return None
    rest = [dict(message) for message in messages[1:]]
    first = next((message for message in rest if message["role"] == "user"), None)
    if first is None:
        return None
    first["content"] = f"{messages[0]['content']}\n\n{first['content']}"
    return rest


def own_prompt(prompt: object, *, chat: bool) -> str | list[Message]:
    """Return a prompt that nobody else can change: a text, or a checked conversation; raises ConfigError otherwise."""
    if isinstance(prompt, str):
        return str(prompt)
    if not isinstance(prompt, list | tuple):
        raise ConfigError(f"the prompt is {shown(prompt)}.", hint="Give a text, or a list of messages.")
    if not chat:
        raise ConfigError("a list of messages needs chat=True.", hint="Raw completion takes one text.")
    return checked_messages(prompt)


def _checked(message: object, what: str) -> Message:
    if not isinstance(message, Mapping) and callable(dump := getattr(message, "model_dump", None)):
        message = dump()  # What OpenAI's client returns.
    if not isinstance(message, Mapping):
        raise ConfigError(f"{what} is {shown(message)}.", hint='It must be like {"role": "user", "content": "Hi"}.')
    given = {text_key(key, what): value for key, value in message.items() if value is not None}
    role = _role(given, what)
    checked: Message = {"role": role}
    for name, value in given.items():
        if name not in FIELDS[role]:
            if value in ([], {}, ""):  # The empty fields that clients send along.
                continue
            known = FIELDS[role]
            raise ConfigError(
                f"{what} ({role}) has the field {name!r}.",
                hint=did_you_mean(name, known).strip() or f"Known: {', '.join(known)}.",
            )
        if name != "role":
            checked[name] = _READERS[name](value, f"{name} of {what} ({role})")
    if "content" not in checked:
        if role != "assistant" or not (checked.get("tool_calls") or any(name in checked for name in _REASONING)):
            raise ConfigError(f"{what} ({role}) has no content.", hint="It must be a text.")
        checked["content"] = ""
    return checked


def _role(given: Mapping[str, Any], what: str) -> str:
    if "role" not in given:
        raise ConfigError(f"{what} has no role.", hint=f"It must be one of {', '.join(ROLES)}.")
    role = given["role"]
    if role == "developer":
        return "system"
    if not isinstance(role, str) or role not in ROLES:
        raise ConfigError(
            f"{what} has the role {shown(role)}.",
            hint=f"It must be one of {', '.join(ROLES)}.{did_you_mean(str(role)[:40], ROLES)}",
        )
    return str(role)


def _text(value: object, what: str) -> str:
    if not isinstance(value, str):
        raise ConfigError(f"the {what} is {shown(value)}.", hint="It must be a text.")
    return str(value)


def _content(value: object, what: str) -> str:
    if isinstance(value, str):
        return str(value)
    if not isinstance(value, list | tuple) or not value:
        raise ConfigError(f"the {what} is {shown(value)}.", hint="It must be a text, or a list of text parts.")
    return "\n".join(_part(part, f"part {index} of the {what}") for index, part in enumerate(value))


def _part(part: object, what: str) -> str:
    if isinstance(part, str):
        return str(part)
    kind = part.get("type") if isinstance(part, Mapping) else None
    if not isinstance(part, Mapping) or not isinstance(kind, str):
        raise ConfigError(f"{what} is {shown(part)}.", hint='It must be like {"type": "text", "text": "Hi"}.')
    if kind not in _TEXT_PARTS:
        raise ConfigError(f"{what} is of type {shown(kind)}.", hint="Models here read text only: leave it out.")
    text = part.get("text")
    if not isinstance(text, str):
        raise ConfigError(f"{what} has the text {shown(text)}.", hint="It must be a text.")
    return str(text)


def _tool_calls(value: object, what: str) -> list[Any]:
    if not isinstance(value, list | tuple):
        raise ConfigError(f"the {what} are {shown(value)}.", hint="They must be a list.")
    return [_tool_call(call, f"call {index} in the {what}") for index, call in enumerate(value)]


def _tool_call(value: object, what: str) -> dict[str, Any]:
    call = plain(value, what)
    function = call.get("function", call) if isinstance(call, dict) else None
    if not isinstance(function, dict) or not isinstance(function.get("name"), str):
        raise ConfigError(
            f"{what} is {shown(value)}.",
            hint='It must be like {"type": "function", "function": {"name": "f", "arguments": {}}}.',
        )
    if not isinstance(call.get("id", ""), str):
        raise ConfigError(f"{what} has the id {shown(call['id'])}.", hint="It must be a text.")
    arguments = function.get("arguments")
    checked = {"name": function["name"], "arguments": _arguments({} if arguments is None else arguments, what)}
    named = {"id": call["id"]} if call.get("id") else {}
    return {**named, "type": "function", "function": checked}


def _arguments(value: object, what: str) -> Any:
    if isinstance(value, str):
        try:
            read = json.loads(value)
        except (ValueError, RecursionError):
            return value
        return plain(read, f"arguments of {what}") if isinstance(read, dict) else value
    if not isinstance(value, dict):
        raise ConfigError(f"the arguments of {what} are {shown(value)}.", hint="They must be an object, or its JSON.")
    return value


def _token_ids(value: object, what: str) -> list[int]:
    ids = plain(value, f"the {what}")
    if not isinstance(ids, list) or not all(type(token) is int and token >= 0 for token in ids):
        raise ConfigError(f"the {what} are {shown(value)}.", hint="They must be a list of token ids.")
    return ids


_READERS: dict[str, Any] = {
    "content": _content,
    "name": _text,
    "tool_call_id": _text,
    "tool_calls": _tool_calls,
    "token_ids": _token_ids,
    **dict.fromkeys(_REASONING, _text),
}
