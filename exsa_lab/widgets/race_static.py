"""The race without a script: its end as bars with their numbers, and as text."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from itertools import accumulate

from exsa_lab.pictures import BLUE, GREEN, GREY, ORANGE, as_image
from exsa_lab.trace.time_parts import TimeParts
from exsa_lab.widgets.race_lanes import RaceLane, verdict
from exsa_lab.widgets.rows import visible

PARTS = ("prompt", "draft", "verify", "sample", "gap")
MEANINGS = {
    "prompt": "until the first token",
    "draft": "proposing draft tokens",
    "verify": "passes of the target",
    "sample": "choosing tokens",
    "gap": "the rest: scheduling, events",
}
MAX_TEXT = 2_000
_WIDTH, _HEIGHT = 720, 14
# The pattern tells the part, the colour only repeats it.
_FILLS = {"prompt": GREY, "draft": "url(#d)", "verify": BLUE, "sample": "url(#s)", "gap": "none"}
_DEFS = (
    '<defs><pattern id="d" width="5" height="5" patternUnits="userSpaceOnUse" patternTransform="rotate(45)">'
    f'<rect width="3" height="5" fill="{GREEN}"/></pattern>'
    '<pattern id="s" width="4" height="4" patternUnits="userSpaceOnUse">'
    f'<rect width="2.4" height="2.4" fill="{ORANGE}"/></pattern></defs>'
)


def static_html(lanes: Sequence[RaceLane]) -> str:
    """Return the end of the race as HTML with no script, every text escaped."""
    longest = max(lane.finish_s for lane in lanes)
    sentences = "".join(f"<div>{escape(visible(sentence))}</div>" for sentence in verdict(lanes))
    legend = " &nbsp; ".join(f"{_swatch(part)} {part}: {MEANINGS[part]}" for part in PARTS)
    return (
        f'<div class="mathjax_ignore tex2jax_ignore">{sentences}'
        f"{''.join(_lane(lane, lanes, longest) for lane in lanes)}"
        f'<div style="font-size:.86em;margin:.6em 0">{legend}. The run of median speed of each '
        f"setting is shown, all on one scale of time.</div>{''.join(map(_text_of, lanes))}</div>"
    )


def static_text(lanes: Sequence[RaceLane]) -> str:
    """Return the end of the race as lines of text."""
    lines = [visible(sentence) for sentence in verdict(lanes)]
    lines += [f"{visible(lane.name)}, {_facts(lane, lanes)} ({_parts(lane)})" for lane in lanes]
    return "\n".join(lines)


def place(lane: RaceLane, lanes: Sequence[RaceLane]) -> int:
    """Return 1 for the lane that ended first; equal times share a place."""
    return 1 + sum(other.finish_s < lane.finish_s for other in lanes)


def _lane(lane: RaceLane, lanes: Sequence[RaceLane], longest: float) -> str:
    settings = lane.settings(lanes)
    asked = f" <code>{escape(visible(settings))}</code>" if settings else ""
    return (
        f'<div style="margin-top:.6em"><b>{escape(visible(lane.name))}</b>{asked} &nbsp; {_facts(lane, lanes)}</div>'
        f'<div>{_bar(lane.parts, longest)}</div><div style="font-size:.86em">{_parts(lane)}</div>'
    )


def _facts(lane: RaceLane, lanes: Sequence[RaceLane]) -> str:
    return (
        f"place {place(lane, lanes)}: {len(lane.shown.tokens):,} tokens in {lane.finish_s:.3f} s, "
        f"{lane.tokens_per_second:.1f} tok/s ({lane.sureness})"
    )


def _parts(lane: RaceLane) -> str:
    return ", ".join(f"{part} {_seconds(lane.parts, part):.3f}" for part in PARTS) + " s"


def _text_of(lane: RaceLane) -> str:
    text = lane.shown.text
    cut = text if len(text) <= MAX_TEXT else text[:MAX_TEXT] + " …"
    return (
        f"<details><summary>What {escape(visible(lane.name))} wrote, {len(lane.shown.tokens):,} tokens</summary>"
        f'<div dir="auto" style="white-space:pre-wrap;overflow-wrap:anywhere">{escape(visible(cut))}</div></details>'
    )


def _bar(parts: TimeParts, longest: float) -> str:
    seconds = [_seconds(parts, part) for part in PARTS]
    drawn = ""
    for part, end, length in zip(PARTS, accumulate(seconds), seconds, strict=True):
        left, width = _WIDTH * (end - length) / longest, _WIDTH * length / longest
        drawn += _box(part, left, width) if width > 0.2 else ""
    return _picture(drawn, _WIDTH, "Bar of where the time went; the numbers are below.")


def _swatch(part: str) -> str:
    return _picture(_box(part, 0.5, 13), 14, "")


def _box(part: str, left: float, width: float) -> str:
    edge = GREY if part == "gap" else "none"
    dashed = ' stroke-dasharray="2 2"' if part == "gap" else ""
    return (
        f'<rect x="{left:.1f}" y="1" width="{width:.1f}" height="{_HEIGHT - 2}" fill="{_FILLS[part]}" '
        f'stroke="{edge}"{dashed}/>'
    )


def _picture(drawn: str, width: int, said: str) -> str:
    size = f'width="{width}" height="{_HEIGHT}" viewBox="0 0 {width} {_HEIGHT}" preserveAspectRatio="none"'
    svg = f'<svg xmlns="http://www.w3.org/2000/svg" {size}>{_DEFS}{drawn}</svg>'
    return as_image(svg, said, style=f"width:{width}px;max-width:100%;height:{_HEIGHT}px")


def _seconds(parts: TimeParts, part: str) -> float:
    return float(getattr(parts, f"{part}_s"))
