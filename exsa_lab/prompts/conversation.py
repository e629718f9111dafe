"""From a conversation to the text of its prompt, in which every character is marked with the message it came from."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from exsa_lab.errors import ConfigError, InvalidModel
from exsa_lab.prompts.marked import Marked, cut, join, mark
from exsa_lab.prompts.messages import Message, merged_system
from exsa_lab.prompts.rendering import render
from exsa_lab.prompts.template import TemplateRefusal
from exsa_lab.runtime.protocol import Model

OUTSIDE = chr(0x10FFFF)
"""Mark of texts that came with the request but not in a message: tools, documents."""
_MERGED = "the model's chat template takes no system message, so it stands at the head of the first user turn"


@dataclass(frozen=True, slots=True)
class Rendered:
    """The marked text of a prompt, the conversation as its template got it, and what a user should know about it."""

    text: str
    messages: list[Message]
    notes: tuple[str, ...] = ()


def mark_of(index: int) -> str:
    """Return the mark of a message's characters."""
    return chr(index + 1)


def render_conversation(
    model: Model, messages: list[Message], kwargs: dict[str, Any], *, continue_final: bool = False
) -> Rendered:
    """Render checked messages with the model's own template, the assistant's turn opened or continued.

    A system message that the template refuses, or leaves out, is merged into the first user turn. Raises ConfigError
    where the model has no template or it refuses the messages, InvalidModel when it fails.
    """
    merged = merged_system(messages)
    try:
        text = _rendered(model, messages, kwargs, continue_final)
    except TemplateRefusal:
        if merged is None:
            raise
        return Rendered(_rendered(model, merged, kwargs, continue_final), merged, (_MERGED,))
    if merged is not None and messages[0]["content"].strip() and not _holds(text, mark_of(0)):
        return Rendered(_rendered(model, merged, kwargs, continue_final), merged, (_MERGED,))
    return Rendered(text, messages)


def _holds(text: str, with_mark: str) -> bool:
    return isinstance(text, Marked) and with_mark in text.marks


def _rendered(model: Model, messages: list[Message], kwargs: dict[str, Any], continue_final: bool) -> str:
    if not continue_final:
        return _with_arguments(model, messages, {"add_generation_prompt": True, **kwargs})
    index, final = len(messages) - 1, messages[-1]
    if index and not any(final.get(name) for name in ("content", "reasoning_content", "reasoning", "thinking")):
        return _with_arguments(model, messages[:-1], {"add_generation_prompt": True, **kwargs})
    begun = {**kwargs, "add_generation_prompt": False, "continue_final_message": True}
    text = _with_arguments(model, messages, begun)
    if not _holds(text, mark_of(index)):
        raise ConfigError(
            "the model's chat template leaves out the assistant's message that is to be continued.",
            hint="Use continue_final=False, or chat=False with the whole text.",
        )
    assert isinstance(text, Marked)
    end = text.marks.rfind(mark_of(index)) + 1
    content = final["content"]
    blanks = content[len(content.rstrip()) :]
    if blanks and not str(text[:end]).endswith(blanks):  # Templates trim; the reply goes on exactly where it stopped.
        return join([cut(text, 0, end), mark(blanks, mark_of(index))])
    return cut(text, 0, end)


def _with_arguments(model: Model, messages: list[Message], kwargs: dict[str, Any]) -> str:
    """Render; arguments of tool calls are objects, or their JSON for templates that write them out as they are."""
    calls = [call["function"] for message in messages for call in message.get("tool_calls", ())]
    objects = [call["arguments"] for call in calls if isinstance(call["arguments"], dict)]
    try:
        text = _once(model, messages, kwargs)
    except InvalidModel:
        if not objects:
            raise
    else:
        if not any(repr(arguments) in text for arguments in objects if arguments):
            return text
    return _once(model, [_with_json_arguments(message) for message in messages], kwargs)


def _with_json_arguments(message: Message) -> Message:
    calls = [
        {**call, "function": {**call["function"], "arguments": _as_json(call["function"]["arguments"])}}
        for call in message.get("tool_calls", ())
    ]
    return {**message, "tool_calls": calls} if calls else message


def _as_json(arguments: Any) -> str:
    return arguments if isinstance(arguments, str) else json.dumps(arguments, ensure_ascii=False)


def _once(model: Model, messages: list[Message], kwargs: dict[str, Any]) -> str:
    if model.chat_template is None:
        raise ConfigError(f"{model.name} has no chat template.", hint="Use chat=False (--no-chat) for raw completion.")
    rules = model.token_rules
    values = {
        "tools": None,
        "documents": None,
        **{name: _marked(value, OUTSIDE) for name, value in kwargs.items()},
        "messages": [_marked_message(message, mark_of(index)) for index, message in enumerate(messages)],
        "bos_token": model.token_label(rules.bos) if rules.bos is not None else "",
        "eos_token": model.token_label(rules.eos) if rules.eos is not None else "",
    }
    return render(model.chat_template, values)


def _marked_message(message: Message, with_mark: str) -> Message:
    """Mark all texts of a message but its role, which is one of four words and belongs to the template."""
    return {
        name: value if name == "role" else _marked(value, with_mark)
        for name, value in message.items()
        if name != "token_ids"
    }


def _marked(value: Any, with_mark: str) -> Any:
    if isinstance(value, str):
        return mark(value, with_mark)
    if isinstance(value, dict):
        return {mark(key, with_mark): _marked(item, with_mark) for key, item in value.items()}
    return [_marked(item, with_mark) for item in value] if isinstance(value, list) else value
