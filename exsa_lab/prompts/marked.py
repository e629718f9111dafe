"""Text that knows who wrote it.

A prompt is a template's own text with a user's text inside. Only the former may become control tokens, so every
character of a user's text carries a mark, and every operation a template may apply keeps the marks. llama.cpp's own
template engine does the same (`is_input` in its common/jinja).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

OWN = "\0"
"""The mark of a template's own characters; a user's have any other."""


class Marked(str):
    """A text with a mark for each character; a plain ``str`` is a template's own.

    ``marks`` is a text of the same length: character i is the mark of character i.

    Example: ``Marked("Hi", "\\x01\\x01")``.
    """

    __slots__ = ("marks",)
    marks: str

    def __new__(cls, text: str, marks: str) -> Marked:
        made = str.__new__(cls, text)
        assert len(marks) == len(text)
        made.marks = marks
        return made

    def __reduce__(self) -> tuple[Any, ...]:
        return Marked, (str(self), self.marks)


class SafeText(Marked):
    """What ``|safe`` returns: added to another text it has that one escaped for HTML, as jinja2's does."""

    __slots__ = ()

    def __new__(cls, text: str, marks: str) -> SafeText:
        made = super().__new__(cls, text, marks)
        assert isinstance(made, SafeText)
        return made


def safe(text: str) -> SafeText:
    return SafeText(str(text), marks_of(text))


def escaped(text: str) -> str:
    """Escape a text for HTML, but for a safe one."""
    if isinstance(text, SafeText):
        return text
    table = {"&": "&amp;", "<": "&lt;", ">": "&gt;", "'": "&#39;", '"': "&#34;"}
    return join(made_from(table.get(char, char), char) if char in table else char for char in characters(text))


def mark(text: str, with_mark: str) -> str:
    """Mark a whole text; an empty one has nothing to mark."""
    return Marked(text, with_mark * len(text)) if text else text


def marks_of(text: str) -> str:
    return text.marks if isinstance(text, Marked) else OWN * len(text)


def made_from(text: str, *sources: object) -> str:
    """Mark a new text by what it was made from: a user's as a whole, where any of it was."""
    found = next((found for source in sources if (found := any_mark(source)) is not None), None)
    return mark(text, found) if found is not None else text


def any_mark(value: object) -> str | None:
    """Return the first mark of a user's anywhere in a value, None where all is a template's own."""
    if isinstance(value, Marked):
        return next((found for found in value.marks if found != OWN), None)
    if isinstance(value, dict):
        items: Iterable[object] = (part for pair in value.items() for part in pair)
    elif isinstance(value, list | tuple):
        items = value
    else:
        return None
    return next((found for item in items if (found := any_mark(item)) is not None), None)


def join(texts: Iterable[str], separator: str = "") -> str:
    """`str.join` that keeps marks."""
    parts = list(texts)
    joined = separator.join(parts)
    if not any(isinstance(part, Marked) for part in parts) and not (isinstance(separator, Marked) and len(parts) > 1):
        return joined
    return Marked(joined, marks_of(separator).join(map(marks_of, parts)))


def cut(text: str, start: int | None, stop: int | None = None, step: int | None = None) -> str:
    """``text[start:stop:step]`` that keeps marks."""
    part = text[start:stop:step]
    return Marked(part, text.marks[start:stop:step]) if isinstance(text, Marked) and part else part


def rest_of(text: str, rest: str) -> str:
    """Give what `str.strip` and its kin left of a text the marks it had in it."""
    # What they take away cannot contain the first character of the rest, so the first match is the place.
    left = text.find(rest) if rest else 0
    return cut(text, left, left + len(rest))


def pieces_of(text: str, pieces: list[str], separator: str | None) -> list[str]:
    """Give the pieces of a split text the marks they had in it; ``separator`` None: blanks or line breaks."""
    if not isinstance(text, Marked):
        return pieces
    found, at = [], 0
    for piece in pieces:
        if separator is None:
            at = text.index(piece, at)  # Only separators lie between, and no piece begins with one.
        found.append(cut(text, at, at + len(piece)))
        at += len(piece) + len(separator or "")
    return found


def replaced(text: str, old: str, new: str, count: int = -1) -> str:
    """`str.replace` that keeps marks."""
    if not isinstance(text, Marked) and not isinstance(new, Marked):
        return text.replace(old, new, count)
    if old:
        return join(pieces_of(text, text.split(old, count), old), new)
    places = len(text) + 1 if count < 0 else min(count, len(text) + 1)
    spread = [part for at in range(places) for part in (new, cut(text, at, at + 1))]
    return join([*spread, cut(text, places)])


def mapped(text: str, changed: str) -> str:
    """Give a text changed character by character, as by `str.upper`, the marks it had."""
    if isinstance(text, Marked) and len(changed) == len(text):
        return Marked(changed, text.marks)
    return made_from(changed, text)


def characters(text: str) -> list[str]:
    return [cut(text, at, at + 1) for at in range(len(text))] if isinstance(text, Marked) else list(text)
