"""The page side of widgets that consist of several files."""

from __future__ import annotations

import os
from html import escape
from pathlib import Path
from typing import Any

WIDGET_VIEW = "application/vnd.jupyter.widget-view+json"

_FOLDER = Path(__file__).parent


def read_scripts(*names: str) -> str:
    """Return script or style files as one, `common` first; of scripts the last one has the default export."""
    common = f"common{Path(names[0]).suffix}"
    return "\n".join(_FOLDER.joinpath(name).read_text(encoding="utf-8") for name in (common, *names))


def live_bundle(html: str, text: str, view_id: str, model_id: str, *, is_final: bool = False) -> dict[str, Any]:
    """Return a display's data: static views, which a page that has this widget replaces by it (common.js).

    A saved notebook that names a widget shows only "model not found" once its kernel is gone, even if it carries HTML
    too. So the widget is named only for readers that start no widget otherwise, and not where it ``is_final``.
    """
    bundle: dict[str, Any] = {"text/html": in_view(html, view_id), "text/plain": text}
    if not is_final and ("VSCODE_PID" in os.environ or "COLAB_NOTEBOOK_ID" in os.environ):
        bundle[WIDGET_VIEW] = {"version_major": 2, "version_minor": 0, "model_id": model_id}
    return bundle


def in_view(html: str, view_id: str) -> str:
    """Return the HTML in the element that a page replaces by the live view of this id."""
    return f'<exsa-view data-view="{escape(view_id)}">{html}</exsa-view>'
