"""What a notebook shows of a generation. One widget is one .py, one .js and one .css file."""

from __future__ import annotations

from typing import TYPE_CHECKING

from exsa_lab.lazy import lazy_members

if TYPE_CHECKING:
    from exsa_lab.widgets.display import show
    from exsa_lab.widgets.explore import Explorer
    from exsa_lab.widgets.playground import Playground
    from exsa_lab.widgets.race import Race, race
    from exsa_lab.widgets.static import static_html, static_text
    from exsa_lab.widgets.step_through import StepThrough
    from exsa_lab.widgets.timeline import BatchTimeline, show_timeline
    from exsa_lab.widgets.token_strip import TokenStrip

__all__ = [
    "BatchTimeline",
    "Explorer",
    "Playground",
    "Race",
    "StepThrough",
    "TokenStrip",
    "race",
    "show",
    "show_timeline",
    "static_html",
    "static_text",
]

# Imported when first used: the static views must not cost the import of ipywidgets.
__getattr__, __dir__ = lazy_members(
    __name__,
    {
        "BatchTimeline": "exsa_lab.widgets.timeline",
        "Explorer": "exsa_lab.widgets.explore",
        "Playground": "exsa_lab.widgets.playground",
        "Race": "exsa_lab.widgets.race",
        "StepThrough": "exsa_lab.widgets.step_through",
        "TokenStrip": "exsa_lab.widgets.token_strip",
        "race": "exsa_lab.widgets.race",
        "show": "exsa_lab.widgets.display",
        "show_timeline": "exsa_lab.widgets.timeline",
        "static_html": "exsa_lab.widgets.static",
        "static_text": "exsa_lab.widgets.static",
    },
)
