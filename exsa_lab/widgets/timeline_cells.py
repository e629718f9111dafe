"""The KV cache by slot, without a script: whose cells each slot held after the step in which the most were in use."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape

from exsa_lab.pictures import BLUE, GREY, GROUND, as_image
from exsa_lab.widgets.timeline_rows import Lane, Row, shortened

_LEFT, _WIDTH, _RIGHT = 230, 420, 290
_BAR, _GAP, _TOP = 12, 8, 8
_LABEL_CHARS = 36
_CELLS, _USES = 5, 9
"""Columns of a row of steps."""


def fullest(rows: Sequence[Row]) -> Row | None:
    """Return the first step after which the most cells were in use; None where no step's slots were recorded."""
    steps = [row for row in rows if row[0] == "step" and len(row) > _USES and row[_USES]]
    return max(steps, key=lambda row: row[_CELLS], default=None)


def cells_html(rows: Sequence[Row], lanes: Mapping[int, Lane]) -> str:
    """Return the picture, folded, with its facts as the image's text; empty where nothing was recorded."""
    step = fullest(rows)
    if step is None:
        return ""
    slots = [_slot_text(use, lanes) for use in step[_USES]]
    title = f"The KV cache by slot at its fullest, at {step[2]:.2f} s: {step[_CELLS]:,} cells in use"
    image = as_image(_svg(step[_USES], lanes), f"{title}. {'; '.join(f'{name}: {cells}' for name, cells in slots)}")
    return (
        f'<details style="font-size:.86em"><summary>{title}</summary>{image}<div>filled: own cells (prompt, text); '
        "dashed: the same cells as another slot's, counted there; outlined: kept of a request that is over</div>"
        "</details>"
    )


def _slot_text(use: Sequence[int], lanes: Mapping[int, Lane]) -> tuple[str, str]:
    slot, lane, cells, shared, same_as = use
    whose = f"#{lane} {lanes[lane].label}" if lane in lanes else (f"#{lane}" if lane else "kept")
    there = f", the first {shared:,} are those of slot {same_as}" if shared else ""
    return f"slot {slot} · {whose}", f"{cells:,} cells{there}"


def _svg(uses: Sequence[Sequence[int]], lanes: Mapping[int, Lane]) -> str:
    most = max(use[2] for use in uses)
    height = _TOP + len(uses) * (_BAR + _GAP)
    parts = []
    for index, use in enumerate(uses):
        name, cells = _slot_text(use, lanes)
        top = _TOP + index * (_BAR + _GAP)
        parts.append(f'<text x="4" y="{top + 10}">{escape(shortened(name, _LABEL_CHARS))}</text>')
        parts += _bar(use, lanes, top, most)
        parts.append(f'<text x="{_LEFT + _WIDTH + 10}" y="{top + 10}">{escape(cells)}</text>')
    width = _LEFT + _WIDTH + _RIGHT
    size = f'width="{width}" height="{height}" viewBox="0 0 {width} {height}"'
    return f'<svg xmlns="http://www.w3.org/2000/svg" {size}>{GROUND}{"".join(parts)}</svg>'


def _bar(use: Sequence[int], lanes: Mapping[int, Lane], top: float, most: int) -> list[str]:
    _, lane, cells, shared, _ = use
    prompt = max(0, min(cells, lanes[lane].prompt) - shared) if lane in lanes else 0
    parts, at = [], float(_LEFT)
    for number, style in (
        (shared, f'fill="none" stroke="{BLUE}" stroke-dasharray="3 2"'),
        (prompt, f'fill="{BLUE}"'),
        (cells - shared - prompt, f'fill="{GREY}"' if lane else f'fill="none" stroke="{GREY}"'),
    ):
        width = number * _WIDTH / most
        if number:
            parts.append(f'<rect x="{at:.1f}" y="{top}" width="{width:.1f}" height="{_BAR}" {style}/>')
        at += width
    return parts
