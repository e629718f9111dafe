"""Alternatives of tokens without a script: bars made of letters, which every sanitizer lets through."""

from __future__ import annotations

from collections.abc import Iterator
from html import escape

from exsa_lab.widgets.rows import Row

MAX_BARS = 400
"""Tokens whose bars are shown, the first ones."""
TOP, SURPRISAL, ENTROPY = 7, 8, 9
"""Places in a row of a token that has alternatives."""
_WIDTH = 12
_EIGHTHS = " ▏▎▍▌▋▊▉"
_STYLE = "margin:.3em 0;padding:0;background:none;white-space:pre-wrap;font:.86em/1.35 monospace"


def has_alternatives(row: Row) -> bool:
    return row[0] != "R" and len(row) > TOP


def bar(share: float) -> str:
    """Return a bar of a fixed width, filled to a share of it.

    Example: ``bar(0.5)`` is six full blocks and six blanks.
    """
    full, rest = divmod(round(8 * _WIDTH * min(1.0, max(0.0, share))), 8)
    return ("█" * full + (_EIGHTHS[rest] if rest else "")).ljust(_WIDTH, "\u2007")


def measures(row: Row) -> str:
    """Return surprisal and entropy in words; empty where they were not recorded."""
    if not has_alternatives(row):
        return ""
    named = (("surprisal", row[SURPRISAL]), ("entropy", row[ENTROPY]))
    return " · ".join(f"{name} {bits:.2f} bits" for name, bits in named if bits is not None)


def bar_lines(row: Row) -> list[str]:
    """Return a line for each alternative: bar, probability before and after the chain, the draft's, text."""
    lines = []
    for token, text, raw, p, q in row[TOP]:
        after = f" → {p:.3f}" if p is not None and abs(p - raw) > 5e-4 else ""
        drafted = f", q {q:.3f}" if q is not None else ""
        mark = "● " if token == row[1] else "  "
        lines.append(f"{mark}{bar(raw)} {raw:.3f}{after}{drafted}  “{text}”".replace("\n", "↵"))
    return lines


def bars_html(rows: list[Row]) -> str:
    """Return the bars of all tokens that have some, folded; empty where none has."""
    tokens = [row for row in rows if has_alternatives(row) and row[TOP]]
    if not tokens:
        return ""
    rest = f"\n… {len(tokens) - MAX_BARS:,} more tokens" if len(tokens) > MAX_BARS else ""
    body = escape("\n".join(_lines(tokens[:MAX_BARS])) + rest)
    head = '<summary style="font-size:.86em;opacity:.8">Alternatives: what else might have come</summary>'
    return f'<details>{head}<pre style="{_STYLE}">{body}</pre></details>'


def _lines(tokens: list[Row]) -> Iterator[str]:
    for index, row in enumerate(tokens):
        yield f"{index:>4}  “{row[2]}”  {measures(row)}".replace("\n", "↵")
        yield from (f"      {line}" for line in bar_lines(row))
