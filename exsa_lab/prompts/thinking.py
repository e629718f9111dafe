"""Thoughts: where one begins and ends in what a model writes, and how one is closed that has become too long."""

from __future__ import annotations

from dataclasses import dataclass

from exsa_lab.prompts.marked import OWN, cut, marks_of
from exsa_lab.runtime.protocol import Model

MARKERS = (
    ("<think>", "</think>"),
    ("<seed:think>", "</seed:think>"),
    ("<thought>", "</thought>"),
    ("[THINK]", "[/THINK]"),
    ("<|START_THINKING|>", "<|END_THINKING|>"),
    ("<|inner_prefix|>", "<|inner_suffix|>"),
    ("<|channel>thought", "<channel|>"),
)
"""Markers that published templates write around a thought."""


@dataclass(frozen=True, slots=True)
class Thinking:
    """How the thoughts of one generation are marked."""

    begin: str
    end: str
    is_open: bool = False
    """Whether the prompt ends inside a thought."""
    labels: tuple[tuple[int, str], ...] = ()
    """Control tokens among the markers, which have no text otherwise, and their texts."""

    def split(self, text: str) -> tuple[str, str, bool]:
        """Return (thought, answer, whether the thought goes on) of what was written so far."""
        rest = text
        if not self.is_open:
            before, marker, rest = text.partition(self.begin)
            if not marker or before.strip():
                return "", text, False
        thought, marker, answer = rest.partition(self.end)
        return thought.strip(), answer.lstrip(), not marker


def thinking_of(model: Model, prompt: str) -> Thinking | None:
    """Return how the model's template marks thoughts, None where it marks none; ``prompt`` is its rendered text."""
    source = model.chat_template or ""
    found = next(((begin, end) for begin, end in MARKERS if end in source), None)
    if found is None:
        return None
    begin, end = found
    marks = marks_of(prompt)
    # What a user wrote of thoughts opens none; what follows the last of it was written to be gone on with.
    own = max((at for at, mark in enumerate(marks) if mark != OWN), default=-1) + 1
    tail = cut(prompt, own)
    labels = [(t.id, t.text) for t in model.token_rules.specials if t.is_control and t.text in begin + end]
    return Thinking(begin, end, tail.rfind(begin) > tail.rfind(end), tuple(labels))


def closing_tokens(model: Model, thinking: Thinking) -> list[int]:
    """Return the tokens that end a thought and let the answer begin."""
    return model.tokenize(f"\n{thinking.end}\n\n", add_special=False, parse_special=True)


class ThoughtBudget:
    """Counts the tokens of a thought and tells when it is to be closed. Owned by the engine thread.

    Example: of ``ThoughtBudget(thinking, 2, [7])`` and a thought that is open, the second `after` returns [7].
    """

    def __init__(self, thinking: Thinking, most: int, closing: list[int]) -> None:
        self._thinking = thinking
        self._labels = {token: text.encode() for token, text in thinking.labels}
        self._left = most
        self._closing = closing
        self._is_open = thinking.is_open
        self._is_over = False
        self._tail = b""

    def after(self, token: int, piece: bytes) -> list[int]:
        """A token was committed; return the tokens that must follow it, nearly always none."""
        if self._is_over:
            return []
        self._tail += self._labels.get(token, piece)
        if not self._is_open:
            self._is_open = self._thinking.begin.encode() in self._tail
            # Something else came first: this is an answer.
            self._is_over = not self._is_open and not self._thinking.begin.encode().startswith(self._tail.strip())
            if not self._is_open or self._left:
                return []
        else:
            self._left -= 1
        self._is_over = self._thinking.end.encode() in self._tail
        self._tail = self._tail[-64:]
        if self._is_over or self._left > 0:
            return []
        self._is_over = True
        return self._closing
