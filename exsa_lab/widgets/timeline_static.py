"""The timeline without a script: a picture with its facts as text, or plain text.

The picture has paper of its own, see `exsa_lab.pictures`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from html import escape
from itertools import pairwise

from exsa_lab.pictures import BLUE, GREEN, GREY, GROUND, ORANGE, as_image
from exsa_lab.widgets.static_batching import compared
from exsa_lab.widgets.timeline_cells import cells_html
from exsa_lab.widgets.timeline_rows import FINAL_STATES, Lane, Row, lanes_of, merge, shortened

STATE_MARKS = {"waiting": "○", "running": "◐", "finished": "●", "cancelled": "■", "failed": "▲"}
MAX_DRAWN_LANES = 40

_LEFT, _WIDTH, _RIGHT = 190, 560, 190
_LANE, _GAP, _PANEL, _AXIS = 18, 5, 34, 22
_SLOTS = 4
"""Column of the slots in a row of steps."""
_HEAD = (
    '<defs><pattern id="x" width="4" height="4" patternUnits="userSpaceOnUse" patternTransform="rotate(45)">'
    f'<rect width="1.4" height="4" fill="{ORANGE}"/></pattern>'
    '<pattern id="c" width="4" height="4" patternUnits="userSpaceOnUse">'
    f'<rect width="2" height="2" fill="{BLUE}"/></pattern>'
    f'<clipPath id="p"><rect x="{_LEFT}" y="0" width="{_WIDTH}" height="100%"/></clipPath></defs>'
    f"{GROUND}"
)


def static_html(rows: Iterable[Row], computed: Iterable[Row] = (), *, slots: int = 0, cells: int = 0) -> str:
    """Return the timeline as HTML: the picture, its legend, and each lane as a line of text (folded away).

    ``slots`` and ``cells`` are what the engine has; ``computed`` is what a static batcher would have done.
    """
    rows, computed = list(rows), list(computed)
    lanes = list(lanes_of(rows).values())
    drawn = lanes[-MAX_DRAWN_LANES:]
    summary = _summary(lanes)
    note = f" The newest {len(drawn)} are drawn." if len(drawn) < len(lanes) else ""
    lines = "".join(f"<li>{escape(lane_text(lane))}</li>" for lane in drawn)
    return (
        '<div class="mathjax_ignore tex2jax_ignore">'
        f'<div style="font-size:.86em;opacity:.8">{escape(summary)}{note}</div>'
        f"{as_image(_svg(drawn, rows, slots, cells), f'Timeline: {summary}')}"
        f'<details style="font-size:.86em"><summary>The same as text</summary><ul>{lines}</ul></details>'
        f"{cells_html(rows, {lane.lane: lane for lane in lanes})}"
        f"{_computed_html(rows, computed, slots, cells)}</div>"
    )


def static_text(rows: Iterable[Row], computed: Iterable[Row] = ()) -> str:
    """Return one line for the whole, one for each lane, and one that compares."""
    rows = list(rows)
    lanes = list(lanes_of(rows).values())
    compare = compared(rows, list(computed))
    lines = [_summary(lanes), *(lane_text(lane) for lane in lanes[-MAX_DRAWN_LANES:])]
    return "\n".join([*lines, compare] if compare else lines)


def _computed_html(rows: list[Row], computed: list[Row], slots: int, cells: int) -> str:
    """What a static batcher would have needed, and folded away the picture of it."""
    compare = compared(rows, computed)
    if not compare:
        return ""
    drawn = list(lanes_of(computed).values())[-MAX_DRAWN_LANES:]
    return (
        f'<div style="font-size:.86em">{escape(compare)}</div><details style="font-size:.86em">'
        "<summary>Static batching, computed (outlined and hatched: a slot held until the batch ends)</summary>"
        f"{as_image(_svg(drawn, computed, slots, cells), compare)}</details>"
    )


def lane_text(lane: Lane) -> str:
    """Say in one line what became of a generation."""
    parts = [f"{lane.tokens:,} tokens"]
    if lane.drafted:
        parts.append(f"{lane.accepted:,} of {lane.drafted:,} drafted accepted")
    if lane.cached:
        parts.append(f"{lane.cached:,} of {lane.prompt:,} prompt tokens cached")
    if lane.tokens_per_second:
        parts.append(f"{lane.tokens_per_second:.1f} tok/s (one run)")
    detail = f" ({lane.detail})" if lane.detail and lane.detail not in (lane.state, "stop") else ""
    return f"{STATE_MARKS[lane.state]} #{lane.lane} {lane.label}: {lane.state}{detail}, {', '.join(parts)}"


def _summary(lanes: list[Lane]) -> str:
    if not lanes:
        return "No generations yet."
    counts = {state: sum(lane.state == state for lane in lanes) for state in STATE_MARKS}
    states = ", ".join(f"{number} {state}" for state, number in counts.items() if number)
    tokens = sum(lane.tokens for lane in lanes)
    seconds = _busy_seconds(lanes)
    speed = f", {tokens / seconds:.0f} tok/s together (one run)" if seconds > 0 and tokens else ""
    plural = "" if len(lanes) == 1 else "s"
    return f"{len(lanes)} generation{plural}: {states}. {tokens:,} tokens in {seconds:.1f} s{speed}."


def _busy_seconds(lanes: list[Lane]) -> float:
    """The time during which at least one of them waited or ran; they are in order of submission."""
    seconds, end = 0.0, float("-inf")
    for lane in lanes:
        seconds += max(0.0, lane.end_s - max(lane.begin_s, end))
        end = max(end, lane.end_s)
    return seconds


# The picture


class _Scale:
    """From seconds to x."""

    def __init__(self, begin_s: float, end_s: float) -> None:
        self.begin_s, self.end_s = begin_s, max(end_s, begin_s + 1e-3)

    def __call__(self, time_s: float) -> float:
        return _LEFT + _WIDTH * (time_s - self.begin_s) / (self.end_s - self.begin_s)


def _svg(lanes: list[Lane], rows: list[Row], slots: int, cells: int) -> str:
    begin, end = min((lane.begin_s for lane in lanes), default=0.0), max((lane.end_s for lane in lanes), default=1.0)
    x = _Scale(begin, end)
    top = _AXIS
    most = max((round_tokens(row) for lane in lanes for row in lane.rows if row[0] == "rounds"), default=1.0)
    parts = [_axis(x, _AXIS + len(lanes) * (_LANE + _GAP))]
    parts += [_idle_svg(row, x) for row in rows if row[0] == "idle" and row[1] > begin]
    for lane in lanes:
        parts.append(_lane_svg(lane, x, top, most))
        top += _LANE + _GAP
    shown = [row for row in rows if row[0] == "step" and row[2] >= begin and row[1] <= end]
    steps = merge(shown, (end - begin) * 2 / _WIDTH)
    if steps:
        for title, limit, columns in (
            ("slots in use", slots, [(_SLOTS, GREY)]),
            ("KV cells in use", cells, [(5, GREY)]),
            ("tokens per step", 0, [(8, GREY), (7, GREEN), (6, BLUE)]),
        ):
            parts.append(_panel_svg(title, limit, columns, steps, x, top))
            top += _PANEL + _GAP + 2
    top += 14
    parts += [_legend_svg(top)]
    size = f'width="{_LEFT + _WIDTH + _RIGHT}" height="{top + 10}" viewBox="0 0 {_LEFT + _WIDTH + _RIGHT} {top + 10}"'
    return f'<svg xmlns="http://www.w3.org/2000/svg" {size}>{_HEAD}{"".join(parts)}</svg>'


def round_tokens(row: Row) -> float:
    """Tokens a round handled on average: those drafted, and the target's own."""
    _, _, _, _, rounds, drafted, accepted, committed = row
    return float((drafted + max(0, committed - accepted)) / rounds)


def _axis(x: _Scale, bottom: float) -> str:
    parts = []
    for tick in ticks(x.begin_s, x.end_s):
        at = f"{x(tick):.1f}"
        parts.append(f'<path d="M{at} {_AXIS - 4}V{bottom}" stroke="{GREY}" stroke-opacity=".25"/>')
        parts.append(f'<text x="{at}" y="12" text-anchor="middle">{tick:g} s</text>')
    return "".join(parts)


def _idle_svg(row: Row, x: _Scale) -> str:
    at = f"{x(row[1]):.1f}"
    return (
        f'<text x="{at}" y="{_AXIS + 10}" text-anchor="middle">{row[2]:,.0f} s idle</text>'
        f'<path d="M{at} {_AXIS + 14}v16" stroke="{GREY}" stroke-dasharray="1 3"/>'
    )


def ticks(begin: float, end: float, number: int = 7) -> list[float]:
    """Return round numbers between ``begin`` and ``end``, about ``number`` of them."""
    rough = (end - begin) / number
    power = 10.0 ** next(e for e in range(-6, 9) if 10.0 ** (e + 1) > rough)
    step = power * next((m for m in (1, 2, 5, 10) if m * power >= rough), 10)
    first = -(-begin // step)
    return [round((first + i) * step, 6) for i in range(int((end - first * step) / step + 1e-9) + 1)]


def _lane_svg(lane: Lane, x: _Scale, top: float, most: float) -> str:
    middle, bottom = top + _LANE / 2, top + _LANE
    label = escape(shortened(lane.label, 24))
    parts = [
        f'<text x="4" y="{middle + 4}">{STATE_MARKS[lane.state]} #{lane.lane} {label}</text>',
        f'<path d="M{_LEFT} {bottom}h{_WIDTH}" stroke="{GREY}" stroke-opacity=".3"/>',
    ]
    for t0, t1 in waits(lane):
        parts.append(f'<path d="M{x(t0):.1f} {middle}H{x(t1):.1f}" stroke="{GREY}" stroke-dasharray="2 3"/>')
    parts += [_prefill_svg(row, x, top) for row in lane.rows if row[0] == "prefill"]
    parts += [_held_svg(row, x, top) for row in lane.rows if row[0] == "held"]
    paths = {"own": "", "accepted": "", "rejected": ""}
    for x0, x1, own, accepted, rejected in columns(lane, x, 2.5):
        below = bottom
        for name, tokens in (("own", own), ("accepted", accepted), ("rejected", rejected)):
            height = tokens * _LANE / most
            if height > 0.05:
                paths[name] += f"M{x0:.1f} {below:.1f}h{x1 - x0:.1f}v{-height:.1f}h{x0 - x1:.1f}z"
            below -= height
    fills = {"own": GREY, "accepted": GREEN, "rejected": "url(#x)"}
    parts += [f'<path d="{d}" fill="{fills[name]}"/>' for name, d in paths.items() if d]
    if lane.state in FINAL_STATES:
        mark = STATE_MARKS[lane.state]
        parts.append(f'<text x="{x(lane.end_s) + 2:.1f}" y="{middle + 4}">{mark}</text>')
    drafts = f" · {lane.accepted}/{lane.drafted}" if lane.drafted else ""
    facts = f"{lane.tokens} tok{drafts}"
    parts.append(f'<text x="{_LEFT + _WIDTH + 16}" y="{middle + 4}">{facts} · {escape(lane.state)}</text>')
    return "".join(parts)


def _prefill_svg(row: Row, x: _Scale, top: float) -> str:
    _, _, t0, t1, tokens, cached, *_ = row
    left, width = x(t0), max(2.0, x(t1) - x(t0) - 0.6)
    if cached:
        left, width = left - 1, 5.0
    fill = "url(#c)" if cached else BLUE
    title = f"{tokens} prompt tokens{' from the cache' if cached else ''}"
    outline = f' stroke="{BLUE}"' if cached else ""
    return (
        f'<rect x="{left:.1f}" y="{top + 2}" width="{width:.1f}" height="{_LANE - 2}" fill="{fill}"{outline}>'
        f"<title>{title}</title></rect>"
    )


def _held_svg(row: Row, x: _Scale, top: float) -> str:
    return (
        f'<rect x="{x(row[2]):.1f}" y="{top + 5}" width="{max(1.0, x(row[3]) - x(row[2])):.1f}" height="{_LANE - 9}" '
        f'fill="url(#x)" fill-opacity=".6" stroke="{ORANGE}"><title>slot held until the batch ends</title></rect>'
    )


def waits(lane: Lane) -> Iterator[tuple[float, float]]:
    """The times a generation waited for a slot: from submission or preemption until it ran or ended."""
    states = [("state", lane.lane, lane.begin_s, "waiting", ""), *(row for row in lane.rows if row[0] == "state")]
    for before, after in pairwise([*states, ("state", lane.lane, lane.end_s, "", "")]):
        if before[3] == "waiting" and after[2] > before[2]:
            yield before[2], after[2]


def columns(lane: Lane, x: _Scale, width: float) -> Iterator[tuple[float, float, float, float, float]]:
    """Rounds as columns of at least ``width``: x from, x to, then own, accepted and rejected tokens a round."""
    x0 = x1 = 0.0
    sums = [0, 0, 0, 0]
    for row in lane.rows:
        if row[0] != "rounds":
            continue
        if sums[0] and x(row[3]) - x0 > width:
            yield (x0, x1, *_means(sums))
            sums = [0, 0, 0, 0]
        x0 = x0 if sums[0] else x(row[2])
        x1 = max(x(row[3]), x0 + 1)
        sums = [a + b for a, b in zip(sums, row[4:], strict=True)]
    if sums[0]:
        yield (x0, x1, *_means(sums))


def _means(sums: list[int]) -> tuple[float, float, float]:
    rounds, drafted, accepted, committed = sums
    return max(0, committed - accepted) / rounds, accepted / rounds, (drafted - accepted) / rounds


def _panel_svg(title: str, limit: int, columns: list[tuple[int, str]], steps: list[Row], x: _Scale, top: float) -> str:
    """Numbers of the steps over time, stacked; per-step means of sums, and the highest where a limit is given."""
    heights = [[(row[i] if i in (4, 5) else row[i] / row[3]) for i, _ in columns] for row in steps]
    highest = max(sum(values) for values in heights)
    # Of slots the whole is worth seeing; of the cache a few prompts use so little that nothing would be seen.
    scale = (_PANEL - 4) / max(limit if columns[0][0] == _SLOTS else 0, highest, 1)
    paths = [""] * len(columns)
    for row, values in zip(steps, heights, strict=True):
        below, x0, width = top + _PANEL, x(row[1]), max(0.5, x(row[2]) - x(row[1]))
        for i, value in enumerate(values):
            if value:
                paths[i] += f"M{x0:.1f} {below:.1f}h{width:.1f}v{-value * scale:.1f}h{-width:.1f}z"
            below -= value * scale
    drawn = "".join(
        f'<path d="{d}" fill="{fill}" clip-path="url(#p)"/>' for d, (_, fill) in zip(paths, columns, strict=True) if d
    )
    of = f" of {limit:,}" if limit else ""
    return (
        f'<text x="4" y="{top + _PANEL / 2 + 4}">{title}</text>{drawn}'
        f'<path d="M{_LEFT} {top + _PANEL}h{_WIDTH}" stroke="{GREY}" stroke-opacity=".5"/>'
        f'<text x="{_LEFT + _WIDTH + 16}" y="{top + _PANEL / 2 + 4}">at most {highest:,.0f}{of}</text>'
    )


def _legend_svg(top: float) -> str:
    parts, at = [], 4.0
    for name, fill in (
        ("prompt", BLUE),
        ("prompt from the cache", "url(#c)"),
        ("target's own tokens", GREY),
        ("accepted draft tokens", GREEN),
        ("rejected draft tokens", "url(#x)"),
    ):
        parts.append(f'<rect x="{at}" y="{top - 8}" width="14" height="10" fill="{fill}" stroke="{GREY}"/>')
        parts.append(f'<text x="{at + 19}" y="{top + 1}">{name}</text>')
        at += 36 + 6.2 * len(name)
    parts.append(f'<path d="M{at} {top - 3}h20" stroke="{GREY}" stroke-dasharray="2 3"/>')
    parts.append(f'<text x="{at + 25}" y="{top + 1}">waiting</text>')
    return "".join(parts)
