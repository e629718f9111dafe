"""What a notebook shows of a generation. One widget is one .py, one .js and one .css file."""

from __future__ import annotations

import importlib
from typing import Any

__all__ = ["BatchTimeline", "StepThrough", "TokenStrip", "show", "show_timeline", "static_html", "static_text"]

_HOMES = {
    "BatchTimeline": "timeline",
    "StepThrough": "step_through",
    "TokenStrip": "token_strip",
    "show": "display",
    "show_timeline": "timeline",
    "static_html": "static",
    "static_text": "static",
}


def __getattr__(name: str) -> Any:
    """Import on first use: the static views must not cost the import of ipywidgets."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
