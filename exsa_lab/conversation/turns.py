"""Turns of a conversation, as values: what was asked, and what was replied."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from typing import Any

from exsa_lab.engine.generation import Generation
from exsa_lab.errors import ConfigError, shown
from exsa_lab.prompts.messages import Message, checked_messages
from exsa_lab.prompts.tool_calls import as_messages, read_calls

BY_HAND = "given"
"""Ending of a reply that no model of ours wrote."""
ENDINGS = ("stop", "length", "cancelled", "error", BY_HAND)
RUNNING = "running"


@dataclass(frozen=True, slots=True)
class Reply:
    """What the assistant said, and what is known about that."""

    message: Message
    """As a message: its content and, where a model of ours wrote it, the tokens as they were generated."""
    ending: str = BY_HAND
    """Why it ended: "stop", "length", "cancelled" (what there was is kept), "error", "running", or "given" by hand."""
    model: str = ""
    """Name of the target that wrote it."""
    prompt_tokens: int = 0
    """Tokens of its prompt, the whole history included."""
    cached_tokens: int = 0
    """Those of them that were not computed anew."""
    first_turn: int = 0
    """Number of the oldest turns that were left out of its prompt."""
    context: int = 0
    """Tokens of the context it was written in."""

    @classmethod
    def of(cls, generation: Generation, first_turn: int) -> Reply:
        """Return the reply of a generation, and of what went on with it, as it is now.

        Its prompt began with turn ``first_turn``.
        """
        stats, parts = generation.stats, parts_of(generation)
        last = parts[-1]
        return cls(
            _message_of(parts),
            (last.finish_reason or "error") if last.state.is_final else RUNNING,
            generation.engine.model_names["target"] or "",
            stats.prompt_tokens,
            stats.cached_prompt_tokens,
            first_turn + stats.dropped_turns,
            generation.engine.config.n_ctx,
        )

    @property
    def text(self) -> str:
        return str(self.message["content"])

    @property
    def num_tokens(self) -> int:
        """Tokens generated."""
        return len(self.message.get("token_ids", ()))

    def message_for(self, model: str) -> Message:
        """Return the message for a model; its tokens are those of the model that wrote it, and mean nothing else."""
        if self.model in ("", model):
            return dict(self.message)
        return {name: value for name, value in self.message.items() if name != "token_ids"}


def parts_of(generation: Generation) -> list[Generation]:
    """Return a generation, and those that went on with it by `Generation.more`; one that brought nothing is none."""
    parts, following = [generation], generation.following
    while following is not None:
        if following.tokens or following.finish_reason not in ("cancelled", "error"):
            parts.append(following)
        following = following.following
    return parts


def _message_of(parts: list[Generation]) -> Message:
    """What was said, as a message; whether its thought goes into the next prompt is for the model's template to say."""
    thinking, begun = parts[0].thinking, parts[0].params.prefill or ""
    message: Message = {"role": "assistant", "content": begun + "".join(part.text for part in parts)}
    if thinking is not None and thinking.labels:
        thought, answer, _ = thinking.split("".join(part.labelled_text for part in parts))
        message |= {"content": begun + answer, "reasoning_content": thought}
    elif thinking is not None and thinking.is_open:  # The prompt began it.
        message["content"] = f"{thinking.begin}\n{message['content']}"
    if (format := parts[0].tool_format) is not None:
        content, calls = read_calls(format, "".join(part.labelled_text for part in parts))
        if made := as_messages(calls, str(parts[0].submitted)):
            message |= {"content": begun + content, "tool_calls": made}
    if tokens := [token for part in parts for token in part.tokens]:
        message["token_ids"] = tokens
    return message


@dataclass(frozen=True, slots=True)
class Turn:
    """What was asked, mostly one message of the user's, and what was replied."""

    asked: tuple[Message, ...]
    reply: Reply | None = None
    key: str = ""
    """Who asked: the id of a notebook's cell."""

    @property
    def text(self) -> str:
        """What the user asked."""
        return next((str(each["content"]) for each in self.asked if each["role"] == "user"), "")

    def messages_for(self, model: str) -> list[Message]:
        """Return its messages for a model."""
        reply = [] if self.reply is None else [self.reply.message_for(model)]
        return [*(dict(message) for message in self.asked), *reply]

    def to_json(self) -> dict[str, Any]:
        reply = self.reply
        known = {} if reply is None else {"reply": {name: getattr(reply, name) for name in ("message", *_SCHEMA)}}
        return {"asked": list(self.asked), "key": self.key, **known}

    @classmethod
    def from_json(cls, data: Any) -> Turn:
        """Rebuild a turn; raises ValueError where the data is not one."""
        if not isinstance(data, dict) or data.keys() - {"asked", "key", "reply"}:
            raise ValueError(f"a turn is {shown(data)}")
        if not isinstance(key := data.get("key", ""), str):
            raise ValueError(f"a turn's key is {shown(key)}")
        asked = checked_messages(data.get("asked"))
        if any(message["role"] == "system" for message in asked):
            raise ValueError("a system message is in a turn")
        return cls(tuple(asked), None if data.get("reply") is None else _reply_from_json(data["reply"]), key)


def _is_count(value: Any) -> bool:
    return type(value) is int and 0 <= value < 2**53


_SCHEMA: dict[str, Callable[[Any], bool]] = {
    "ending": lambda value: value in ENDINGS,
    "model": lambda value: isinstance(value, str),
    "prompt_tokens": _is_count,
    "cached_tokens": _is_count,
    "first_turn": _is_count,
    "context": _is_count,
}


def _reply_from_json(data: Any) -> Reply:
    if not isinstance(data, dict) or data.keys() - {"message", *_SCHEMA}:
        raise ValueError(f"a reply is {shown(data)}")
    (message,) = checked_messages([data.get("message")])
    if message["role"] != "assistant":
        raise ValueError(f"a reply is the {message['role']}'s")
    for name, is_right in _SCHEMA.items():
        if name in data and not is_right(data[name]):
            raise ValueError(f"the {name} of a reply is {shown(data[name])}")
    return Reply(message, **{name: data[name] for name in _SCHEMA if name in data})


@dataclass(frozen=True, slots=True)
class Split:
    """A conversation given as messages, in parts."""

    system: str | None
    turns: list[Turn] = field(default_factory=list)


def split_turns(messages: object) -> Split:
    """Check a list of messages and split it at the user's; raises ConfigError where it is none.

    The assistant's last message of a turn is its reply; calls of tools and their results before it belong to what was
    asked. Every turn but the last one must have a reply.
    """
    checked = checked_messages(messages)
    system = str(checked.pop(0)["content"]) if checked[0]["role"] == "system" else None
    turns = [_with_reply(group) for group in _groups(checked)]
    for index, turn in enumerate(turns[:-1]):
        if turn.reply is None:
            raise ConfigError(
                f"turn {index + 1} of the messages, {shown(turn.text[:40])}, has no reply.",
                hint="Only the last one may be open.",
            )
    return Split(system, turns)


def _groups(messages: Iterable[Message]) -> list[list[Message]]:
    groups: list[list[Message]] = []
    for message in messages:
        if not groups or (message["role"] == "user" and groups[-1][-1]["role"] == "assistant"):
            groups.append([])
        groups[-1].append(message)
    return groups


def _with_reply(group: list[Message]) -> Turn:
    turn = Turn(tuple(group))
    if len(group) > 1 and group[-1]["role"] == "assistant" and not group[-1].get("tool_calls"):
        return replace(turn, asked=tuple(group[:-1]), reply=Reply(group[-1]))
    return turn
