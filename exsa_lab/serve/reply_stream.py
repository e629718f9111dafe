"""A reply told apart while it still comes: thought, text and calls of tools, in OpenAI's shapes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from exsa_lab.engine.generation import Generation
from exsa_lab.events import TokenEvent
from exsa_lab.prompts.tool_calls import CallBegun, Content, Piece, ToolCall, ToolCallReader, call_id, read_calls
from exsa_lab.serve.thoughts import ThoughtStream

Json = dict[str, Any]


def message_of(generation: Generation) -> Json:
    """Return the whole reply as a message. A call that was cut off is in it as far as it came, as OpenAI has it."""
    text, calls = generation.labelled_text, list[ToolCall]()
    if generation.tool_format is not None:
        text, calls = read_calls(generation.tool_format, text)
    thinking = generation.thinking
    thought, answer, _ = ("", text, False) if thinking is None else thinking.split(text)
    message: Json = {"role": "assistant", "content": answer if answer or not calls else None, "refusal": None}
    if thinking is not None:
        message["reasoning_content"] = thought
    if calls:
        message["tool_calls"] = [_call(generation, index, call) for index, call in enumerate(calls)]
    return message


def _call(generation: Generation, index: int, call: ToolCall) -> Json:
    function = {"name": call.name, "arguments": call.arguments}
    return {"id": _id(generation, index), "type": "function", "function": function}


def _id(generation: Generation, index: int) -> str:
    return call_id(str(generation.submitted), index)


class ReplyStream:
    """Turns the tokens of one generation into deltas. Owned by the server's event loop."""

    def __init__(self, generation: Generation) -> None:
        self._generation = generation
        self._thoughts = ThoughtStream(generation.thinking)
        format = generation.tool_format
        self._calls = None if format is None else ToolCallReader(format)
        parts = (generation.thinking, format)
        self._labels = {token: text for part in parts if part for token, text in part.labels}

    @property
    def has_calls(self) -> bool:
        return self._calls is not None and bool(self._calls.calls)

    def add(self, tokens: Sequence[TokenEvent]) -> Json:
        """Take more of the reply; returns what is certain by now, an empty delta where nothing is."""
        text = "".join(self._labels.get(event.token_id) or event.text for event in tokens)
        if self._calls is None:
            return _delta(*self._thoughts.add(text))
        return self._told(self._calls.add(text))

    def finish(self) -> Json:
        """The reply is over; returns what was held back."""
        delta = {} if self._calls is None else self._told(self._calls.finish())
        thought, answer = self._thoughts.finish()
        return _delta(delta.get("reasoning_content", "") + thought, delta.get("content", "") + answer)

    def _told(self, pieces: Sequence[Piece]) -> Json:
        thought, answer, calls = "", "", dict[int, Json]()
        for piece in pieces:
            if isinstance(piece, Content):
                more_thought, more_answer = self._thoughts.add(piece.text)
                thought, answer = thought + more_thought, answer + more_answer
            elif isinstance(piece, CallBegun):
                function = {"name": piece.name, "arguments": ""}
                id = _id(self._generation, piece.index)
                calls[piece.index] = {"index": piece.index, "id": id, "type": "function", "function": function}
            else:
                call = calls.setdefault(piece.index, {"index": piece.index, "function": {"arguments": ""}})
                call["function"]["arguments"] += piece.text
        return _delta(thought, answer) | ({"tool_calls": list(calls.values())} if calls else {})


def _delta(thought: str, answer: str) -> Json:
    return {**({"reasoning_content": thought} if thought else {}), **({"content": answer} if answer else {})}
