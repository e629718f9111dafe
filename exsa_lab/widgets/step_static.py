"""The step-through without a script: every round in words."""

from __future__ import annotations

from collections.abc import Iterator
from html import escape

from exsa_lab.trace.trace import Trace
from exsa_lab.widgets.rows import Row
from exsa_lab.widgets.run import rows_of

MAX_STATIC_ROUNDS = 100
_MARKS = {"a": "✓", "x": "✗", "d": "·"}


def static_html(trace: Trace) -> str:
    """Return the rounds as an HTML list with no script, every text escaped."""
    lines = list(_lines(trace))
    items = "".join(f"<li>{escape(line)}</li>" for line in lines[:MAX_STATIC_ROUNDS])
    rest = f"<p>{len(lines) - MAX_STATIC_ROUNDS:,} more rounds</p>" if len(lines) > MAX_STATIC_ROUNDS else ""
    return (
        '<div class="mathjax_ignore tex2jax_ignore" style="font-size:.92em;line-height:1.6">'
        f"<div>{escape(_summary(trace))}</div>"
        f'<ol start="0" style="max-height:24em;overflow-y:auto">{items}</ol>{rest}</div>'
    )


def static_text(trace: Trace) -> str:
    """Return the rounds as lines of text."""
    lines = list(_lines(trace))
    rest = [f"... {len(lines) - MAX_STATIC_ROUNDS:,} more rounds"] if len(lines) > MAX_STATIC_ROUNDS else []
    return "\n".join([_summary(trace), *(f"{i:>3}  {line}" for i, line in enumerate(lines[:MAX_STATIC_ROUNDS])), *rest])


def _summary(trace: Trace) -> str:
    summary = trace.summary()
    return f"{summary['tokens']:,} tokens in {summary['rounds']:,} rounds. ✓ accepted, ✗ refused, · never tested."


def _lines(trace: Trace) -> Iterator[str]:
    """One line for each round: what was drafted, what became of it, and the target's own token."""
    tokens: list[Row] = []
    for row in rows_of(trace):
        if row[0] != "R":
            tokens.append(row)
            continue
        drafted = " ".join(f"{_MARKS[t[0]]}{_quote(t[2])}" for t in _in_draft_order(tokens))
        own = next((_quote(t[2]) for t in tokens if t[0] in "tbr"), "")
        then = {"b": "bonus", "r": "instead", "t": ""}.get(next((t[0] for t in tokens if t[0] in "tbr"), ""), "")
        yield " → ".join(part for part in (drafted, f"{then} {own}".strip()) if part)
        tokens = []


def _in_draft_order(tokens: list[Row]) -> list[Row]:
    return [t for t in tokens if t[0] == "a"] + [t for t in tokens if t[0] in "xd"]


def _quote(text: str) -> str:
    return f"“{text}”".replace("\n", "↵")
