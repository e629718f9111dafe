"""What both kinds of completions have in their replies: a head, the usage, and our own numbers."""

from __future__ import annotations

import secrets
import time
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from exsa_lab.engine.generation import Generation
from exsa_lab.events import Event, TokenEvent
from exsa_lab.serve.parameters import ApiRequest

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class ApiReply:
    """A request, the generations it became, and the name of the model that the client is told."""

    request: ApiRequest
    generations: Sequence[Generation]
    model: str
    id: str
    created: int
    """Seconds since 1970."""

    def head(self, object_name: str) -> Json:
        return {"id": self.id, "object": object_name, "created": self.created, "model": self.model}

    def whole(self, object_name: str, choices: list[Json]) -> Json:
        """What is sent where nothing is streamed."""
        return {
            **self.head(object_name),
            "choices": choices,
            "usage": usage(self),
            "exsa": extras(self.generations),
        }


class Chunks(ABC):
    """Makes the pieces of a streamed reply; those of one kind have ``object_name``."""

    object_name: ClassVar[str]

    def __init__(self, reply: ApiReply) -> None:
        self._reply = reply
        self._head = reply.head(self.object_name)

    @abstractmethod
    def begin(self, index: int) -> list[Json]:
        """What comes before the text of a choice."""

    @abstractmethod
    def piece(self, index: int, events: list[Event]) -> list[Json]:
        """What its news become."""

    @abstractmethod
    def end(self, index: int) -> list[Json]:
        """What comes after its text."""

    def usage(self) -> Json:
        """The last piece of all, where it was asked for."""
        return {**self._head, "choices": [], "usage": usage(self._reply), "exsa": extras(self._reply.generations)}

    def _with_head(self, choice: Json) -> Json:
        return {**self._head, "choices": [choice], **({"usage": None} if self._reply.request.includes_usage else {})}


def new_reply(request: ApiRequest, generations: Sequence[Generation], model: str, prefix: str) -> ApiReply:
    """Begin a reply, with an id of its own."""
    return ApiReply(request, generations, model, f"{prefix}-{secrets.token_hex(12)}", int(time.time()))


def usage(reply: ApiReply) -> Json:
    """Count tokens: each prompt once, however many choices it has."""
    firsts = reply.generations[:: reply.request.num_choices]
    prompt = sum(generation.stats.prompt_tokens for generation in firsts)
    completion = sum(len(generation.tokens) for generation in reply.generations)
    return {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": prompt + completion,
        "prompt_tokens_details": {"cached_tokens": sum(first.stats.cached_prompt_tokens for first in firsts)},
    }


def extras(generations: Sequence[Generation]) -> Json:
    """Our own numbers of some generations together, and what their user should know."""
    stats = [generation.stats for generation in generations]
    drafted, accepted = sum(one.drafted_tokens for one in stats), sum(one.accepted_tokens for one in stats)
    notes = list(dict.fromkeys(note for generation in generations for note in generation.remarks))
    reasons = [generation.cancel_reason for generation in generations if generation.cancel_reason]
    return {
        "acceptance": accepted / drafted if drafted else None,
        "rounds": sum(one.rounds for one in stats),
        "drafted_tokens": drafted,
        "accepted_tokens": accepted,
        "cached_tokens": sum(one.cached_prompt_tokens for one in stats),
        "generations": [generation.id for generation in generations],
        "notes": [*notes, *reasons],
    }


def tokens_of(events: Sequence[Event]) -> list[TokenEvent]:
    return [event for event in events if isinstance(event, TokenEvent)]
