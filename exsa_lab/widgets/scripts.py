"""The page side of widgets that consist of several files."""

from __future__ import annotations

from html import escape
from pathlib import Path

_FOLDER = Path(__file__).parent


def read_scripts(*names: str) -> str:
    """Return script files as one module, in this order; the last one has the default export."""
    return "\n".join(_FOLDER.joinpath(name).read_text(encoding="utf-8") for name in names)


def in_live_output(html: str, view_id: str) -> str:
    """Wrap a static view, so that a page that has the widget of this id shows the widget instead (common.js)."""
    return f'<exsa-view data-view="{escape(view_id)}">{html}</exsa-view>'
