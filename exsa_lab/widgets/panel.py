"""Titled tables of short texts, rendered as HTML without a script or as plain text for a terminal.

Styles are inline and colours are mid-tones or inherited, so one HTML serves light and dark pages, saved notebooks and
sanitizers alike.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape

from exsa_lab.widgets.rows import visible

TEXT_WIDTH = 110
_LINE = "1px solid rgba(128,128,128,.28)"
_CELL = "padding:1px 14px 1px 0;border:0;background:none;text-align:left;vertical-align:top;white-space:normal;"
_MONO = "font-family:var(--jp-code-font-family,ui-monospace,monospace)"
# MathJax would typeset what stands between dollar signs.
_NO_MATH = "mathjax_ignore tex2jax_ignore"


@dataclass(frozen=True, slots=True)
class Section:
    """One table under a title. Rows without a header are names and values; ``lines`` is text shown as it is."""

    title: str
    rows: tuple[tuple[str, ...], ...] = ()
    header: tuple[str, ...] = ()
    lines: tuple[str, ...] = ()
    is_wide: bool = False
    """Takes the whole width where sections stand side by side."""
    is_folded: bool = False
    """Shown as its title only, until it is opened."""


def to_html(title: str, sections: Iterable[Section]) -> str:
    """Return the sections as HTML, every text escaped, side by side where the page is wide enough."""
    heading = f'<div style="font-size:1.15em;font-weight:600">{_html(title)}</div>' if title else ""
    body = "".join(_section_html(section) for section in sections)
    grid = "display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,29em),1fr));gap:.9em 2.6em"
    page = "font-size:13px;line-height:1.5;max-width:105em"
    return f'<div class="{_NO_MATH}" style="{page}">{heading}<div style="{grid}">{body}</div></div>'


def to_text(title: str, sections: Iterable[Section]) -> str:
    """Return the sections as plain text of at most `TEXT_WIDTH` columns; ``lines`` keep theirs."""
    blocks = [[visible(title)]] if title else []
    blocks += [_section_text(section) for section in sections]
    return "\n\n".join("\n".join(block) for block in blocks)


def _html(text: str) -> str:
    return escape(visible(text))


def _section_html(section: Section) -> str:
    head = f'<div style="font-weight:600;border-bottom:{_LINE};margin-bottom:3px">{_html(section.title)}</div>'
    body = _table_html(section) + _lines_html(section.lines)
    if section.is_folded:
        head = f'<summary style="cursor:pointer;font-weight:600">{_html(section.title)}</summary>'
        body = f"<details>{head}{body}</details>"
        head = ""
    wide = "grid-column:1/-1;" if section.is_wide else ""
    return f'<div style="{wide}min-width:0">{head}{body}</div>'


def _table_html(section: Section) -> str:
    if not section.rows:
        return ""
    rows = [_row_html(row, is_pair=not section.header) for row in section.rows]
    if section.header:
        style = f"{_CELL}font-weight:400;opacity:.75"
        cells = "".join(f'<th style="{style}">{_html(cell)}</th>' for cell in section.header)
        rows.insert(0, f'<tr style="background:none">{cells}</tr>')
    return f'<table style="border-collapse:collapse;border:0;margin:0;font-size:inherit">{"".join(rows)}</table>'


def _row_html(row: Sequence[str], *, is_pair: bool) -> str:
    first = "opacity:.75;white-space:nowrap;" if is_pair else "white-space:nowrap;"
    styles = [_CELL + first] + [f"{_CELL}overflow-wrap:anywhere;font-variant-numeric:tabular-nums"] * (len(row) - 1)
    cells = "".join(f'<td style="{style}">{_html(cell)}</td>' for style, cell in zip(styles, row, strict=True))
    return f'<tr style="background:none">{cells}</tr>'


def _lines_html(lines: Sequence[str]) -> str:
    if not lines:
        return ""
    style = f"margin:2px 0;padding:0;background:none;white-space:pre-wrap;overflow-wrap:anywhere;font-size:.9em;{_MONO}"
    return f'<pre style="{style}">{_html(chr(10).join(lines))}</pre>'


def _section_text(section: Section) -> list[str]:
    table = [*([section.header] if section.header else []), *section.rows]
    return [visible(section.title), *_table_text(table), *(f"  {visible(line)}" for line in section.lines)]


def _table_text(table: Sequence[Sequence[str]]) -> list[str]:
    """Align the columns; the last one takes what is left and wraps under itself."""
    if not table:
        return []
    shown = [[visible(cell) for cell in row] for row in table]
    widths = [max(len(cell) for cell in column) for column in zip(*shown, strict=True)]
    indent = 2 + sum(width + 2 for width in widths[:-1])
    room = max(24, TEXT_WIDTH - indent)
    lines = []
    for row in shown:
        start = "  " + "".join(
            f"{cell:<{width}}  " for cell, width in zip(row, widths, strict=True) if cell is not row[-1]
        )
        wrapped = textwrap.wrap(row[-1], room, break_on_hyphens=False) or [""]
        lines += [(start + wrapped[0]).rstrip(), *(" " * indent + more for more in wrapped[1:])]
    return lines
