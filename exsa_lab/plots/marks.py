"""What plotly calls markers, lines and patterns, as SVG."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from itertools import pairwise
from typing import Any

from exsa_lab.pictures import GREY

_DASHES = {"dash": "7 4", "dot": "2 3", "dashdot": "7 3 2 3", "longdash": "11 4"}
_HATCHES = {
    "/": '<path d="M0 6L6 0" {stroke}/>',
    "\\": '<path d="M0 0L6 6" {stroke}/>',
    "x": '<path d="M0 0L6 6M0 6L6 0" {stroke}/>',
    "-": '<path d="M0 3H6" {stroke}/>',
    ".": '<circle cx="3" cy="3" r="1.3" fill="{color}"/>',
}


class Marks:
    """Strokes, fills and points; remembers the patterns that the document must define."""

    def __init__(self) -> None:
        self._patterns: dict[tuple[str, str], str] = {}

    def definitions(self) -> str:
        """The patterns used so far."""
        parts = []
        for (color, shape), name in self._patterns.items():
            hatch = _HATCHES.get(shape, _HATCHES["/"])
            hatch = hatch.format(color=color, stroke=f'stroke="{color}" stroke-width="1.6" fill="none"')
            parts.append(
                f'<pattern id="{name}" width="6" height="6" patternUnits="userSpaceOnUse">'
                f'<rect width="6" height="6" fill="{color}" opacity=".25"/>{hatch}</pattern>'
            )
        return "".join(parts)

    def stroke(self, line: dict[str, Any]) -> str:
        """A line's colour, width and dash."""
        dash = _DASHES.get(str(line.get("dash")))
        dashes = f' stroke-dasharray="{dash}"' if dash else ""
        return f'stroke="{_color(line.get("color"))}" stroke-width="{float(line.get("width") or 2):g}"{dashes}'

    def fill(self, marker: dict[str, Any], index: int) -> str:
        """A bar's colour or pattern."""
        color = _color(nth(marker.get("color"), index))
        shape = str(nth((marker.get("pattern") or {}).get("shape"), index) or "")
        opacity = f' opacity="{float(marker["opacity"]):g}"' if isinstance(marker.get("opacity"), int | float) else ""
        if not shape:
            return f'fill="{color}"{opacity}'
        name = self._patterns.setdefault((color, shape), f"p{len(self._patterns)}")
        return f'fill="url(#{name})" stroke="{color}" stroke-width=".5"{opacity}'

    def point(self, marker: dict[str, Any], index: int, x: float, y: float) -> str:
        """One marker."""
        symbol = str(nth(marker.get("symbol"), index) or "circle")
        color, r = _color(nth(marker.get("color"), index)), float(nth(marker.get("size"), index) or 7) / 2
        is_open = symbol.endswith("-open")
        style = f'fill="none" stroke="{color}" stroke-width="1.6"' if is_open else f'fill="{color}"'
        if line := marker.get("line"):
            style += "" if is_open else f' stroke="{_color(line.get("color"))}" stroke-width="{line.get("width") or 1}"'
        match symbol.removesuffix("-open"):
            case "square":
                return f'<rect x="{x - r:.1f}" y="{y - r:.1f}" width="{2 * r:g}" height="{2 * r:g}" {style}/>'
            case "diamond" | "star":
                return f'<path d="M{x:.1f} {y - r:.1f}l{r:g} {r:g}l{-r:g} {r:g}l{-r:g} {-r:g}z" {style}/>'
            case "triangle-up":
                return f'<path d="M{x:.1f} {y - r:.1f}l{r:g} {2 * r:g}h{-2 * r:g}z" {style}/>'
            case "cross" | "x":
                path = f"M{x - r:.1f} {y:.1f}h{2 * r:g}M{x:.1f} {y - r:.1f}v{2 * r:g}"
                return f'<path d="{path}" stroke="{color}" stroke-width="2.4"/>'
        return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{r:g}" {style}/>'


def color_at(scale: Sequence[Sequence[Any]], share: float) -> str:
    """A colour scale's colour: ``[[0, "#000000"], [1, "#ffffff"]]`` at 0.5 is ``"#808080"``."""
    share = max(0.0, min(1.0, share))
    for (low, first), (high, second) in pairwise(scale):
        if share <= high:
            part = (share - low) / ((high - low) or 1.0)
            a, b = (tuple(int(text[i : i + 2], 16) for i in (1, 3, 5)) for text in (first, second))
            return "#" + "".join(f"{round(x + part * (y - x)):02x}" for x, y in zip(a, b, strict=True))
    return str(scale[-1][1])


def nth(value: Any, index: int) -> Any:
    """One of several, or the one for all."""
    if value is None or isinstance(value, str | int | float):
        return value
    return value[index] if index < len(value) else None


def _color(value: Any) -> str:
    return escape(str(value)) if isinstance(value, str) else GREY
