"""Rejected draft tokens without a script: a mark at their place, so that words stay whole, and a list below the text.

The list opens and shows each run of them with what stood before and what came instead.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from html import escape

from exsa_lab.widgets.rows import REJECTED_KINDS, TOKEN_KINDS, Row

MAX_PLACES = 400
"""Runs listed, the first ones."""
MARK = "▾"
_BEFORE_CHARS = 24
_MARK_STYLE = "font-size:.7em;line-height:0;color:#d55e00"
_LIST_STYLE = "margin:.2em 0;white-space:pre-wrap;overflow-wrap:anywhere"


def runs_of(tokens: Sequence[Row]) -> dict[int, list[Row]]:
    """Return the runs of rejected tokens, by the index at which each begins."""
    runs: dict[int, list[Row]] = {}
    first = 0
    for index, row in enumerate(tokens):
        if row[0] not in REJECTED_KINDS:
            first = index + 1
        else:
            runs.setdefault(first, []).append(row)
    return runs


def mark_html(run: Sequence[Row]) -> str:
    """Return the mark of a run, with what it stands for as its tooltip and label."""
    said = ", ".join(f"“{on_one_line(row)}” {TOKEN_KINDS[row[0]].name}" for row in run)
    words = escape(f"rejected here: {said}")
    return f'<sup role="img" style="{_MARK_STYLE}" title="{words}" aria-label="{words}">{MARK}</sup>'


def list_html(tokens: Sequence[Row], draw: Callable[[Row], str]) -> str:
    """Return all runs with what stood before and what came instead, folded; empty without any.

    ``draw`` makes the HTML of one rejected token.
    """
    runs = runs_of(tokens)
    if not runs:
        return ""
    count = sum(map(len, runs.values()))
    title = f"{MARK} {count:,} rejected draft token{'' if count == 1 else 's'}, each where it would have stood"
    rest = f"<div>… {len(runs) - MAX_PLACES:,} more places</div>" if len(runs) > MAX_PLACES else ""
    items = "".join(_items(tokens, runs, draw))
    return (
        f'<details style="font-size:.92em"><summary style="opacity:.8">{title}</summary>'
        f'<ul style="{_LIST_STYLE}">{items}</ul>{rest}</details>'
    )


def _items(tokens: Sequence[Row], runs: dict[int, list[Row]], draw: Callable[[Row], str]) -> Iterator[str]:
    for first, run in list(runs.items())[:MAX_PLACES]:
        stood = [row for row in tokens[max(0, first - _BEFORE_CHARS) : first] if row[0] not in REJECTED_KINDS]
        before = "".join(map(on_one_line, stood))
        after = "".join(on_one_line(row) for row in tokens[first + len(run) : first + len(run) + 1])
        struck = "".join(map(draw, run))
        instead = f" → {escape(after)}" if after else ""
        yield f"<li>…{escape(before[-_BEFORE_CHARS:])}{struck}{instead}</li>"


def on_one_line(row: Row) -> str:
    """Return a token's text with signs for line breaks."""
    return str(row[2]).replace("\n", "↵")
