"""Thoughts: where one begins and ends in what a model writes, and how one is closed that has become too long."""

from __future__ import annotations

from dataclasses import dataclass

from exsa_lab.prompts.marked import OWN, cut, marks_of
from exsa_lab.runtime.protocol import Model

MARKERS = (
    ("<think>", "</think>", ""),
    ("<seed:think>", "</seed:think>", ""),
    ("<mm:think>", "</mm:think>", ""),
    ("<thought>", "</thought>", ""),
    ("[THINK]", "[/THINK]", ""),
    ("<|START_THINKING|>", "<|END_THINKING|>", ""),
    ("<|inner_prefix|>", "<|inner_suffix|>", ""),
    ("<|channel>thought", "<channel|>", ""),
    ("<|channel|>analysis<|message|>", "<|end|>", "<|start|>assistant<|channel|>final<|message|>"),
    ("<|think|>", "<|end|>", "<|begin|>assistant<|content|>"),
)
"""Markers that published templates write around a thought, and the head of the answer where that has one."""


@dataclass(frozen=True, slots=True)
class Thinking:
    """How the thoughts of one generation are marked."""

    begin: str
    end: str
    is_open: bool = False
    """Whether the prompt ends inside a thought."""
    labels: tuple[tuple[int, str], ...] = ()
    """Control tokens among the markers, which have no text otherwise, and their texts."""
    head: str = ""
    """What the answer begins with, where it is a message of its own."""

    def split(self, text: str) -> tuple[str, str, bool]:
        """Return (thought, answer, whether the thought goes on) of what was written so far."""
        rest = text
        if not self.is_open:
            before, marker, rest = text.partition(self.begin)
            if not marker or before.strip():
                return "", text, False
        thought, marker, answer = rest.partition(self.end)
        answer = answer.lstrip()
        answer = "" if self.head.startswith(answer) else answer.removeprefix(self.head)
        return thought.strip(), answer.lstrip(), not marker


def thinking_of(model: Model, prompt: str) -> Thinking | None:
    """Return how the model's template marks thoughts, None where it marks none; ``prompt`` is its rendered text."""
    source = model.chat_template or ""
    # An end that other messages have as well says nothing.
    found = next((marker for marker in MARKERS if (marker[0] if marker[2] else marker[1]) in source), None)
    if found is None:
        return None
    begin, end, head = found
    marks = marks_of(prompt)
    # What a user wrote of thoughts opens none; what follows the last of it was written to be gone on with.
    own = max((at for at, mark in enumerate(marks) if mark != OWN), default=-1) + 1
    tail = cut(prompt, own)
    markers = begin + end + head
    labels = [(t.id, t.text) for t in model.token_rules.specials if t.is_control and t.text in markers]
    return Thinking(begin, end, tail.rfind(begin) > tail.rfind(end), tuple(labels), head)


def closing_tokens(model: Model, thinking: Thinking) -> list[int]:
    """Return the tokens that end a thought and let the answer begin."""
    closing = thinking.end + thinking.head if thinking.head else f"\n{thinking.end}\n\n"
    return model.tokenize(closing, add_special=False, parse_special=True)


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
