"""From a reply to the calls of tools in it, all at once or as it comes."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import Any

from exsa_lab.prompts.tool_format import ID, ToolFormat
from exsa_lab.tools import NAME

ID_CHARS = 9
"""Letters and digits of a call's id: as many as Mistral's templates ask for."""
_BASE36 = "0123456789abcdefghijklmnopqrstuvwxyz"


@dataclass(frozen=True, slots=True)
class Content:
    """Text of the reply that is no call."""

    text: str


@dataclass(frozen=True, slots=True)
class CallBegun:
    """A call begins: it is the reply's ``index``-th, from 0."""

    index: int
    name: str


@dataclass(frozen=True, slots=True)
class ArgumentsText:
    """More of the JSON of a call's arguments."""

    index: int
    text: str


Piece = Content | CallBegun | ArgumentsText


@dataclass(slots=True)
class ToolCall:
    """A call as it stands in a reply."""

    name: str
    arguments: str = ""
    """JSON of an object; cut off where the reply was."""
    is_complete: bool = False

    def as_message(self, id: str) -> dict[str, Any]:
        """Return the call as a message's ``tool_calls`` hold it; raises ValueError where it was cut off."""
        function = {"name": self.name, "arguments": json.loads(self.arguments)}
        return {"id": id, "type": "function", "function": function}


def as_messages(calls: list[ToolCall], seed: str) -> list[dict[str, Any]]:
    """Return the calls that are whole as a message's ``tool_calls``; a ``seed`` makes always the same ids."""
    return [call.as_message(call_id(seed, index)) for index, call in enumerate(calls) if call.is_complete]


def call_id(seed: str, index: int) -> str:
    """Return an id for a call, always the same for the same reply."""
    number = int.from_bytes(hashlib.sha256(f"{seed} {index}".encode()).digest())
    return "".join(_BASE36[number // 36**place % 36] for place in range(ID_CHARS))


class ToolCallReader:
    """Reads a reply that comes in pieces. What may still turn out to be the beginning of a call is held back.

    Example::

        reader = ToolCallReader(format)
        reader.add('<tool_call>\\n{"name": "f", "argu')     # [CallBegun(0, "f")]
        reader.add('ments": {"a": 1}}\\n</tool_call>')      # [ArgumentsText(0, '{"a": 1}')]
        reader.calls                                        # [ToolCall("f", '{"a": 1}', True)]
    """

    def __init__(self, format: ToolFormat) -> None:
        self.calls: list[ToolCall] = []
        self._format = format
        self._held = ""
        self._place = "text"
        self._depth = _Depth()
        self._reads = {
            "text": self._read_text if format.marker else self._read_start,
            "opening": self._read_opening,
            "content": self._read_content,
            "name": self._read_name,
            "middle": self._read_middle,
            "arguments": self._read_arguments,
            "after": self._read_after,
            "over": self._read_rest,
        }

    def add(self, text: str) -> list[Piece]:
        """Take more of the reply; returns what is certain by now."""
        self._held += text
        pieces: list[Piece] = []
        place = ""
        while place != self._place:  # each moves on to the next place, or waits for more
            place = self._place
            pieces += self._reads[place]()
        return pieces

    def finish(self) -> list[Piece]:
        """The reply is over; returns the text that was held back."""
        held, self._held = self._held, ""
        return [Content(held)] if held and self._place in ("text", "opening", "content") else []

    def _read_text(self) -> list[Piece]:
        """Text, until the marker of calls."""
        before, marker, _ = self._held.partition(self._format.marker)
        if marker:
            self._held = self._held[len(before) :]
            self._place = "opening"
            before = before.rstrip()
            return [Content(before)] if before else []
        num = next(n for n in range(len(self._format.marker) - 1, -1, -1) if before.endswith(self._format.marker[:n]))
        sure = before[: len(before) - num].rstrip()  # blanks before a call are dropped
        self._held = self._held[len(sure) :]
        return [Content(sure)] if sure else []

    def _read_start(self) -> list[Piece]:
        """Without a marker a reply is a call from its start, or none."""
        begun = self._held.lstrip()
        if (length := _match(self._format.opening, begun)) is None:
            self._place = "content"
        elif length:
            self._held, self._place = begun[length:], "name"
        return []

    def _read_opening(self) -> list[Piece]:
        if (length := _match(self._format.opening, self._held)) is None:
            self._place = "content"  # a marker, and no call
        elif length:
            self._held, self._place = self._held[length:], "name"
        return []

    def _read_content(self) -> list[Piece]:
        text, self._held = self._held, ""
        return [Content(text)] if text else []

    def _read_name(self) -> list[Piece]:
        found = NAME.match(self._held)
        if found is None or found.end() == len(self._held):
            return []
        self._held, self._place = self._held[found.end() :], "middle"
        self.calls.append(ToolCall(found[0]))
        return [CallBegun(len(self.calls) - 1, found[0])]

    def _read_middle(self) -> list[Piece]:
        if (length := _match(self._format.middle, self._held)) is None:
            self._place = "over"
        elif length:
            self._held, self._place, self._depth = self._held[length:], "arguments", _Depth()
        return []

    def _read_arguments(self) -> list[Piece]:
        length, is_whole = self._depth.read(self._held)
        text, self._held = self._held[:length], self._held[length:]
        call = self.calls[-1]
        call.arguments += text
        if is_whole:
            self._place, call.is_complete = "after", True
        return [ArgumentsText(len(self.calls) - 1, text)] if text else []

    def _read_after(self) -> list[Piece]:
        between = self._format.between
        length = None if between is None else _match(between, self._held)
        if length is None:
            self._place = "over"
        elif length:
            self._held, self._place = self._held[length:], "name"
        return []

    def _read_rest(self) -> list[Piece]:
        self._held = ""
        return []


def read_calls(format: ToolFormat, text: str) -> tuple[str, list[ToolCall]]:
    """Return (text before the calls, calls) of a whole reply; a reply without calls is all text."""
    reader = ToolCallReader(format)
    pieces = [*reader.add(text), *reader.finish()]
    return "".join(piece.text for piece in pieces if isinstance(piece, Content)), reader.calls


def _match(pattern: str, text: str) -> int | None:
    """Return how much of a text a format's pattern takes up; 0 where more must come to tell, None where it differs."""
    at = 0
    for char in pattern:
        width = ID_CHARS if char == ID else 1
        part = text[at : at + width]
        if not (part.isalnum() if char == ID else part == char) and part:
            return None
        if len(part) < width:
            return 0
        at += width
    return at


@dataclass(slots=True)
class _Depth:
    """Follows the braces of a JSON object, to see where it ends."""

    depth: int = 0
    is_text: bool = False
    is_escaped: bool = False

    def read(self, text: str) -> tuple[int, bool]:
        """Return how much of a text still belongs to the object, and whether that ends there."""
        for at, char in enumerate(text):
            if self.is_text:
                if self.is_escaped:
                    self.is_escaped = False
                elif char == "\\":
                    self.is_escaped = True
                elif char == '"':
                    self.is_text = False
            elif char == '"':
                self.is_text = True
            elif char in "{[":
                self.depth += 1
            elif char in "}]":
                self.depth -= 1
                if self.depth <= 0:
                    return at + 1, True
        return len(text), False
