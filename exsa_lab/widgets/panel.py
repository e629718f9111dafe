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
_CELL = "padding:1px 14px 1px 0;border:0;background:none;text-align:left;vertical-align:top;"
_SHORT = 22
"""Longest text in a column that is not wrapped."""
_WHOLE_COLUMNS = 100
"""Characters in all columns together that are not wrapped: beyond that they would not fit beside JupyterLab's files."""
_WHOLE_WORDS = "word-break:normal;overflow-wrap:anywhere"
_MONO = "font-family:var(--jp-code-font-family,ui-monospace,monospace)"
# MathJax would typeset what stands between dollar signs.
_NO_MATH = "mathjax_ignore tex2jax_ignore"


@dataclass(frozen=True, slots=True)
class Section:
    """One table under a title. Rows without a header are names and values; ``lines`` is text shown as it is."""

    title: str
    rows: tuple[tuple[str, ...], ...] = ()
    header: tuple[str, ...] = ()
    summary: str = ""
    """A sentence above the table."""
    lines: tuple[str, ...] = ()
    is_wide: bool = False
    """Takes the whole width; the others stand in two columns where there is room."""
    leads: bool = False
    """Takes the whole width above all others."""
    is_folded: bool = False
    """Shown as its title only, until it is opened."""


def to_html(title: str, sections: Iterable[Section]) -> str:
    """Return the sections as HTML, every text escaped: wide ones below the others, which flow in columns.

    Those that lead stand above all.
    """
    sections = list(sections)
    first = "".join(_section_html(section) for section in sections if section.leads)
    sections = [section for section in sections if not section.leads]
    heading = f'<div style="font-size:1.15em;font-weight:600">{_html(title)}</div>' if title else ""
    narrow = "".join(_section_html(section) for section in sections if not section.is_wide)
    wide = "".join(_section_html(section) for section in sections if section.is_wide)
    columns = f'<div style="columns:29em 2;column-gap:2.6em">{narrow}</div>' if narrow else ""
    page = "font-size:13px;line-height:1.4;max-width:105em"
    return f'<div class="{_NO_MATH}" style="{page}">{heading}{first}{columns}{wide}</div>'


def to_text(title: str, sections: Iterable[Section]) -> str:
    """Return the sections as plain text of at most `TEXT_WIDTH` columns; ``lines`` keep theirs."""
    blocks = [[visible(title)]] if title else []
    blocks += [_section_text(section) for section in sections]
    return "\n\n".join("\n".join(block) for block in blocks)


def _html(text: str) -> str:
    return escape(visible(text))


def _section_html(section: Section) -> str:
    head = f'<div style="font-weight:600;border-bottom:{_LINE};margin-bottom:3px">{_html(section.title)}</div>'
    summary = f'<div style="margin-bottom:2px">{_html(section.summary)}</div>' if section.summary else ""
    body = summary + _table_html(section) + _lines_html(section.lines)
    if section.is_folded:
        head = f'<summary style="cursor:pointer;font-weight:600">{_html(section.title)}</summary>'
        body = f"<details>{head}{body}</details>"
        head = ""
    return f'<div style="break-inside:avoid;padding-bottom:.8em">{head}{body}</div>'


def _table_html(section: Section) -> str:
    if not section.rows:
        return ""
    styles = _column_styles(section)
    rows = [_row_html(row, styles) for row in section.rows]
    if section.header:
        style = f"{_CELL}font-weight:400;opacity:.75"
        cells = "".join(f'<th style="{style}">{_html(cell)}</th>' for cell in section.header)
        rows.insert(0, f'<tr style="background:none">{cells}</tr>')
    table = f'<table style="border-collapse:collapse;border:0;margin:0;font-size:inherit">{"".join(rows)}</table>'
    return f'<div style="overflow-x:auto">{table}</div>'


def _column_styles(section: Section) -> list[str]:
    """Short columns keep their lines whole, the shortest first while there is room; the others wrap."""
    widths = [max(map(len, column)) for column in zip(*section.rows, strict=True)]
    wraps = ["overflow-wrap:anywhere" if width > _SHORT else "" for width in widths]
    room = _WHOLE_COLUMNS
    for column in sorted(range(len(widths)), key=widths.__getitem__):
        room -= widths[column]
        if room >= 0 and widths[column] <= _SHORT:
            wraps[column] = "white-space:nowrap"
    styles = [f"{_CELL}font-variant-numeric:tabular-nums;{wrap}" for wrap in wraps]
    if not section.header:
        styles[0] += ";opacity:.75"
    return styles


def _row_html(row: Sequence[str], styles: Sequence[str]) -> str:
    cells = "".join(f'<td style="{style}">{_html(cell)}</td>' for style, cell in zip(styles, row, strict=True))
    return f'<tr style="background:none">{cells}</tr>'


def _lines_html(lines: Sequence[str]) -> str:
    if not lines:
        return ""
    style = f"margin:2px 0;padding:0;background:none;white-space:pre-wrap;font-size:.9em;{_MONO};{_WHOLE_WORDS}"
    return f'<pre style="{style}">{_html(chr(10).join(lines))}</pre>'


def _section_text(section: Section) -> list[str]:
    table = [*([section.header] if section.header else []), *section.rows]
    summary = textwrap.wrap(visible(section.summary), TEXT_WIDTH - 2)
    below = [visible(line) for line in section.lines]
    return [
        visible(section.title),
        *(f"  {line}" for line in summary),
        *_table_text(table),
        *(f"  {line}" for line in below),
    ]


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
