"""The what-if explorer without a script: one curve as a picture, its numbers as a table, and as text.

The picture has a ground of its own: dark text on white has the contrast that text needs, on a dark page too.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from html import escape

from exsa_lab.config import MAX_DRAFT_LENGTH
from exsa_lab.pictures import as_image
from exsa_lab.scatter import of_costs
from exsa_lab.trace.measured import MeasuredSpeed
from exsa_lab.trace.what_if import WhatIf

_WIDTH, _HEIGHT, _LEFT, _RIGHT, _TOP, _BOTTOM = 720, 300, 54, 16, 16, 42
_INK, _SOFT, _LINE, _BLUE, _ORANGE = "#1f1f1f", "#55595f", "#d5d8dc", "#0b66b5", "#b34700"
_CELL = "text-align:right;padding:1px 10px"


def static_html(machine: str, setting: WhatIf, points: Sequence[MeasuredSpeed], compared_with: str) -> str:
    """Return the picture, the sentence below it and the table as HTML with no script, every text escaped."""
    rows = _curve(setting)
    picture = as_image(_svg(rows, setting, points), _sentence(setting))
    head = "".join(f'<th style="{_CELL}">{name}</th>' for name in _COLUMNS)
    body = "".join(
        "<tr>" + "".join(f'<td style="{_CELL}">{cell}</td>' for cell in _cells(row, setting)) + "</tr>" for row in rows
    )
    lines = "".join(f"<div>{escape(line)}</div>" for line in _lines(machine, setting, points, compared_with))
    return (
        '<div class="mathjax_ignore tex2jax_ignore" style="font-size:.92em;line-height:1.6">'
        f"{picture}{lines}"
        f"<details><summary>All draft lengths</summary><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody>"
        "</table></details></div>"
    )


def static_text(machine: str, setting: WhatIf, points: Sequence[MeasuredSpeed], compared_with: str) -> str:
    """Return the same as lines of text."""
    rows = ["".join(cell.rjust(18) for cell in _cells(row, setting)) for row in _curve(setting)]
    return "\n".join([*_lines(machine, setting, points, compared_with), "".join(c.rjust(18) for c in _COLUMNS), *rows])


_COLUMNS = ("draft length", "tokens per round", "time per round", "speed-up")


def _curve(setting: WhatIf) -> list[WhatIf]:
    return [replace(setting, draft_length=k) for k in range(MAX_DRAFT_LENGTH + 1)]


def _cells(row: WhatIf, setting: WhatIf) -> tuple[str, ...]:
    mark = " (best)" if row.draft_length == setting.best_length else ""
    seconds = row.verify_seconds + row.draft_seconds
    return (
        f"{row.draft_length}{mark}",
        f"{row.tokens_per_round:.2f}",
        f"{1000 * seconds:.1f} ms",
        f"x{row.speed_up:.2f}",
    )


def _sentence(setting: WhatIf) -> str:
    best = replace(setting, draft_length=setting.best_length)
    if best.draft_length == 0:
        return f"Speed-up by draft length, at acceptance {setting.acceptance:.0%}: no draft length pays."
    return (
        f"Speed-up by draft length, at acceptance {setting.acceptance:.0%}: "
        f"the best is k = {best.draft_length} with x{best.speed_up:.2f}."
    )


def _lines(machine: str, setting: WhatIf, points: Sequence[MeasuredSpeed], compared_with: str) -> list[str]:
    seconds = setting.verify_seconds + setting.draft_seconds
    needed = setting.break_even
    at_once = f", {setting.num_sequences} sequences at once" if setting.num_sequences > 1 else ""
    break_even = "Not even a perfect draft breaks even." if needed is None else f"It breaks even at {needed:.0%}."
    sure = f" {of_costs(setting.costs.scatter)}" if setting.costs.scatter else ""
    lines = [
        f"{machine}{at_once}. {_sentence(setting)}{sure}",
        f"k = {setting.draft_length}: {setting.tokens_per_round:.2f} tokens per round, {1000 * seconds:.1f} ms per "
        f"round ({setting.round_cost:.2f} plain steps), speed-up x{setting.speed_up:.2f}."
        + (f" {break_even}" if setting.draft_length else ""),
    ]
    if points:
        lines.append(f"Measured against {compared_with}: " + "; ".join(map(point_text, points)) + ".")
    return lines


def point_text(point: MeasuredSpeed) -> str:
    """Say what was measured, and how sure it is."""
    runs = "1 run" if point.runs == 1 else f"{point.low:.2f} to {point.high:.2f} in {point.runs} runs"
    return f"{point.name} x{point.speed_up:.2f} ({runs}, {point.acceptance:.0%} of tested accepted)"


# The picture


def _svg(rows: Sequence[WhatIf], setting: WhatIf, points: Sequence[MeasuredSpeed]) -> str:
    top = 1.08 * max(1.2, *(row.speed_up for row in rows), *(point.high for point in points))
    width, height = _WIDTH - _LEFT - _RIGHT, _HEIGHT - _TOP - _BOTTOM

    def x(k: float) -> float:
        return round(_LEFT + width * k / MAX_DRAFT_LENGTH, 1)

    def y(speed: float) -> float:
        return round(_TOP + height * (1 - speed / top), 1)

    best = rows[setting.best_length]
    parts = [f'<rect width="{_WIDTH}" height="{_HEIGHT}" rx="4" fill="#fff"/>']
    step = next(s for s in (0.25, 0.5, 1, 2, 5, 10) if top / s <= 7)
    for tick in range(int(top / step) + 1):
        at = y(tick * step)
        parts.append(f'<path d="M{_LEFT} {at}H{_WIDTH - _RIGHT}" stroke="{_LINE}"/>')
        parts.append(f'<text x="{_LEFT - 6}" y="{at + 4}" text-anchor="end">x{tick * step:g}</text>')
    parts += [
        f'<text x="{x(k)}" y="{_HEIGHT - _BOTTOM + 16}" text-anchor="middle">{k}</text>'
        for k in range(0, MAX_DRAFT_LENGTH + 1, 2)
    ]
    parts.append(f'<text x="{_WIDTH / 2}" y="{_HEIGHT - 8}" text-anchor="middle">draft length k</text>')
    parts.append(f'<path d="M{_LEFT} {y(1)}H{_WIDTH - _RIGHT}" stroke="{_SOFT}" stroke-dasharray="6 4"/>')
    parts.append(f'<text x="{_WIDTH - _RIGHT - 4}" y="{y(1) - 5}" text-anchor="end">break even: plain decoding</text>')
    line = " ".join(f"{x(row.draft_length)},{y(row.speed_up)}" for row in rows)
    parts.append(f'<polyline points="{line}" fill="none" stroke="{_BLUE}" stroke-width="2.5"/>')
    parts += [f'<circle cx="{x(row.draft_length)}" cy="{y(row.speed_up)}" r="3" fill="{_BLUE}"/>' for row in rows]
    at_x, at_y = x(best.draft_length), y(best.speed_up)
    parts.append(f'<circle cx="{at_x}" cy="{at_y}" r="8" fill="none" stroke="{_INK}" stroke-width="2"/>')
    anchor = "start" if best.draft_length < MAX_DRAFT_LENGTH / 2 else "end"
    shift = 12 if anchor == "start" else -12
    name = f"best: k = {best.draft_length}, x{best.speed_up:.2f}"
    parts.append(f'<text class="b" x="{at_x + shift}" y="{at_y - 8}" text-anchor="{anchor}">{name}</text>')
    parts += [_point_svg(point, x, y) for point in points]
    style = f"<style>text{{font:12px system-ui,sans-serif;fill:{_SOFT}}}.b{{font-weight:600;fill:{_INK}}}</style>"
    size = f'width="{_WIDTH}" height="{_HEIGHT}" viewBox="0 0 {_WIDTH} {_HEIGHT}"'
    return f'<svg xmlns="http://www.w3.org/2000/svg" {size}>{style}{"".join(parts)}</svg>'


def _point_svg(point: MeasuredSpeed, x: Callable[[float], float], y: Callable[[float], float]) -> str:
    at_x, at_y = x(point.draft_length), y(point.speed_up)
    return (
        f'<path d="M{at_x} {y(point.low)}V{y(point.high)}" stroke="{_ORANGE}" stroke-width="1.5"/>'
        f'<rect x="{at_x - 4.5}" y="{at_y - 4.5}" width="9" height="9" fill="#fff" stroke="{_ORANGE}" '
        f'stroke-width="2"><title>{escape(point_text(point))}</title></rect>'
    )
