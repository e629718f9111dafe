"""One axis of a figure, as a picture without a script needs it: where a value lies, and which ticks stand on it."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

_TICKS = 6
"""About so many."""


class Axis:
    """Maps data to pixels, from the figure's layout and the values that are drawn on it.

    Example:
        >>> axis = Axis({"range": [0, 10]}, [], (100.0, 200.0))
        >>> axis.pixel(5), [text for _, text in axis.ticks()][:2]
        (150.0, ['0', '2'])
    """

    def __init__(self, layout: dict[str, Any], values: Iterable[Any], pixels: tuple[float, float]) -> None:
        given = list(values)
        self.layout = layout
        self.pixels = pixels
        self.is_category = layout.get("type") == "category" or any(isinstance(value, str) for value in given)
        self.is_log = layout.get("type") == "log"
        self.categories = list(dict.fromkeys(value for value in given if value is not None)) if self.is_category else []
        self.low, self.high = self._range([v for v in given if not isinstance(v, str)])

    def _range(self, values: Sequence[Any]) -> tuple[float, float]:
        """Both ends, in the axis' own units: logarithms, places of categories, or values."""
        if self.layout.get("range"):
            low, high = (float(end) for end in self.layout["range"])
            return low, high
        if self.is_category:
            return -0.5, max(0, len(self.categories) - 1) + 0.5
        known = [
            self._own(float(v)) for v in values if v is not None and math.isfinite(v) and (v > 0 or not self.is_log)
        ]
        low, high = min(known, default=0.0), max(known, default=1.0)
        if self.layout.get("rangemode") == "tozero" and not self.is_log:
            low, high = min(0.0, low), max(0.0, high)
        room = 0.06 * (high - low) or 0.5
        return (low if low == 0 else low - room), high + room

    def _own(self, value: float) -> float:
        return math.log10(value) if self.is_log else value

    def pixel(self, value: Any) -> float:
        """Where a value lies; outside of the range the nearest end."""
        if self.is_category and value in self.categories:
            place = float(self.categories.index(value))
        else:
            place = self._own(float(value)) if not self.is_log or value > 0 else self.low
        share = (place - self.low) / ((self.high - self.low) or 1.0)
        first, last = self.pixels
        return first + max(-0.02, min(1.02, share)) * (last - first)

    @property
    def unit(self) -> float:
        """Pixels of one unit: of a category, or of 1."""
        return abs(self.pixels[1] - self.pixels[0]) / (abs(self.high - self.low) or 1.0)

    def ticks(self) -> list[tuple[float, str]]:
        """Pixels and text of each tick."""
        if self.layout.get("tickvals") is not None:
            texts = self.layout.get("ticktext") or self.layout["tickvals"]
            return [(self.pixel(v), str(t)) for v, t in zip(self.layout["tickvals"], texts, strict=False)]
        if self.is_category:
            return [(self.pixel(value), str(value)) for value in self.categories]
        if self.is_log:
            powers = range(math.floor(self.low), math.ceil(self.high) + 1)
            values = [digit * 10.0**power for power in powers for digit in (1, 2, 5)]
            values = [value for value in values if self.low <= math.log10(value) <= self.high]
            return [(self.pixel(value), f"{value:g}") for value in values]
        low, high = sorted((self.low, self.high))
        step = float(self.layout.get("dtick") or _nice((high - low) / _TICKS))
        numbers = range(math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9) + 1)
        return [(self.pixel(number * step), self._text(number * step)) for number in numbers]

    def _text(self, value: float) -> str:
        return f"{value:.0%}" if "%" in str(self.layout.get("tickformat")) else f"{round(value, 9):g}"


def _nice(step: float) -> float:
    """The next of 1, 2 and 5 times a power of ten."""
    power = 10.0 ** math.floor(math.log10(step)) if step > 0 else 1.0
    return next(power * factor for factor in (1, 2, 5, 10) if power * factor >= step * 0.999)
