"""What a template may do at most: a budget of work, and bounds on every value it makes.

A template pays before it computes: for each step of its program, for each item it goes through, and for the size of
every value it makes, searches or compares, parts that occur several times each time. So time and memory of a rendering
are bounded by the budget, whatever the template.
"""

from __future__ import annotations

from collections.abc import ItemsView, KeysView, ValuesView
from typing import Any

from jinja2.exceptions import SecurityError
from jinja2.runtime import Undefined

from exsa_lab.prompts.marked import characters

STEP = 4
"""Units of one step of a template's program."""
TEXT_PER_UNIT = 8
"""Characters of text that cost one unit: copying them is cheap."""
MAX_INTEGER_BITS = 4_096
MAX_DEPTH = 100
"""Deepest nesting of lists and dictionaries."""
MAX_WIDTH = 100
"""Widest padding and longest fraction in a format."""

_Collection = (list, tuple, dict, range, KeysView, ValuesView, ItemsView)


class WorkExceeded(Exception):
    """The rendering spent its whole budget."""


class WorkBudget:
    """Work that one rendering may still do, in units of about 0.2 microseconds."""

    __slots__ = ("left",)

    def __init__(self, units: int) -> None:
        self.left = units

    def spend(self, units: int) -> None:
        self.left -= units
        if self.left < 0:
            raise WorkExceeded

    def spend_text(self, num_chars: int) -> None:
        self.spend(1 + num_chars // TEXT_PER_UNIT)

    def pay(self, *values: Any, times: int = 1) -> None:
        """Pay for values as large as they would be written out, ``times`` of them; refuses what is no plain value."""
        before = self.left
        stack = [(value, 0) for value in values]
        while stack:
            value, depth = stack.pop()
            self.spend(1)
            if isinstance(value, str):
                self.spend(len(value) // TEXT_PER_UNIT)
            elif isinstance(value, _Collection):
                if depth >= MAX_DEPTH:
                    raise SecurityError(f"a value is nested more than {MAX_DEPTH} levels deep")
                self.spend(2 * len(value))
                if not isinstance(value, range):
                    parts = [*value.keys(), *value.values()] if isinstance(value, dict) else value
                    stack.extend((part, depth + 1) for part in parts)
            elif isinstance(value, int):  # bool among them
                if value.bit_length() > MAX_INTEGER_BITS:
                    raise SecurityError("a number is too large")
            elif not (value is None or isinstance(value, float | Undefined)):
                raise SecurityError(f"a {type(value).__name__.lower()} is not a value to compute with")
        if times > 1:
            self.spend((before - self.left) * (times - 1))

    def items(self, value: Any) -> list[Any]:
        """Pay for the items of a value and return them; Undefined has none."""
        if isinstance(value, Undefined):
            return list(value)
        if not isinstance(value, (str, *_Collection)):
            raise TypeError(f"a value of type {type(value).__name__} has no items")
        self.spend(STEP * len(value))
        return characters(value) if isinstance(value, str) else list(value)
