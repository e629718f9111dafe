"""A recorded run at a glance: what a notebook shows where a trace is the last value of a cell.

One column a round: upwards the tokens it committed, downwards those that were drafted in vain.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from html import escape

from exsa_lab.errors import printable
from exsa_lab.events import Event, RejectedEvent, RoundEvent, Source, StateEvent, TokenEvent
from exsa_lab.pictures import GREEN, GREY, ORANGE, as_image
from exsa_lab.scatter import of_one_run

MAX_COLUMNS = 160
_MAX_WORDS = 60
_UNIT, _COLUMN, _GAP = 8, 6, 2


def line(events: Sequence[Event], stats: dict[str, float], prompt: str) -> str:
    """Say in one line what was generated, how, and of which prompt."""
    tokens = sum(isinstance(event, TokenEvent) for event in events)
    rounds = [event for event in events if isinstance(event, RoundEvent)]
    drafted, accepted = sum(event.k for event in rounds), sum(event.accepted for event in rounds)
    state = next((str(event.state) for event in reversed(events) if isinstance(event, StateEvent)), "")
    parts = [
        f"{tokens:,} tokens in {len(rounds):,} rounds",
        f"{accepted:,} of {drafted:,} drafted accepted" if drafted else "nothing drafted",
        f"{stats['tokens_per_second']:.1f} tok/s ({of_one_run(rounds)})" if stats.get("tokens_per_second") else "",
        state,
        f"prompt {_words(prompt)!r}" if prompt else "",
    ]
    return ", ".join(part for part in parts if part)


def html(events: Sequence[Event], stats: dict[str, float], prompt: str) -> str:
    """Return the line, the picture and the counts of tokens by where they came from, every text escaped."""
    counts = Counter(str(event.source) for event in events if isinstance(event, TokenEvent))
    counts.update(str(event.reason) for event in events if isinstance(event, RejectedEvent))
    summary = line(events, stats, prompt)
    return (
        f'<div class="mathjax_ignore tex2jax_ignore"><div>{escape(summary)}</div>'
        f"{as_image(_svg(_columns(events)), f'Tokens by round: {summary}')}"
        '<div style="font-size:.86em;opacity:.8">each column a round: '
        "accepted drafts filled, the target's own outlined, refused and discarded drafts hatched beneath</div>"
        f'<div style="font-size:.86em">{" · ".join(f"{name} {count:,}" for name, count in counts.items())}</div></div>'
    )


def _words(text: str) -> str:
    text = " ".join(printable(text).split())
    return text if len(text) <= _MAX_WORDS else text[: _MAX_WORDS - 3] + "..."


def _columns(events: Iterable[Event]) -> list[tuple[float, float, float]]:
    """Accepted, own and wasted tokens of each round; of long runs the means of several."""
    rounds: dict[int, list[float]] = {}
    for event in events:
        if isinstance(event, TokenEvent):
            is_accepted = event.source in (Source.ACCEPTED, Source.FORCED)
            rounds.setdefault(event.round, [0.0, 0.0, 0.0])[0 if is_accepted else 1] += 1
        elif isinstance(event, RejectedEvent):
            rounds.setdefault(event.round, [0.0, 0.0, 0.0])[2] += 1
    columns = [rounds[number] for number in sorted(rounds)]
    together = -(-len(columns) // MAX_COLUMNS)
    groups = [columns[start : start + together] for start in range(0, len(columns), together or 1)]
    means = [[sum(column[part] for column in group) / len(group) for part in range(3)] for group in groups]
    return [(accepted, own, wasted) for accepted, own, wasted in means]


def _svg(columns: list[tuple[float, float, float]]) -> str:
    up = max((accepted + own for accepted, own, _ in columns), default=0.0)
    down = max((wasted for *_, wasted in columns), default=0.0)
    unit = min(_UNIT, 96 / max(1.0, up + down))
    width, base = max(1, len(columns)) * (_COLUMN + _GAP) + _GAP, up * unit + 2
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{base + down * unit + 4:.1f}">'
        '<defs><pattern id="w" width="3" height="3" patternUnits="userSpaceOnUse" patternTransform="rotate(45)">'
        f'<rect width="1.2" height="3" fill="{ORANGE}"/></pattern></defs>'
    ]
    for index, (accepted, own, wasted) in enumerate(columns):
        x = _GAP + index * (_COLUMN + _GAP)
        parts.append(_bar(x, base - accepted * unit, accepted * unit, f'fill="{GREEN}"'))
        parts.append(_bar(x, base - (accepted + own) * unit, own * unit, f'fill="none" stroke="{GREY}"'))
        parts.append(_bar(x, base + 2, wasted * unit, 'fill="url(#w)"'))
    return "".join([*parts, "</svg>"])


def _bar(x: int, y: float, height: float, style: str) -> str:
    return f'<rect x="{x}" y="{y:.1f}" width="{_COLUMN}" height="{height:.1f}" {style}/>' if height > 0 else ""
