"""Any ipywidget in the place of a static view: what a saved notebook shows of controls once their kernel is gone."""

from __future__ import annotations

from typing import Any

import traitlets
from ipywidgets import Widget, widget_serialization

from exsa_lab.widgets.live import LiveWidget
from exsa_lab.widgets.scripts import read_script, read_styles


class Host(LiveWidget):
    """Shows ``child`` while the page has a kernel, and the given static view otherwise.

    Example::

        Host(ipywidgets.IntSlider(), "<p>A slider; it needs a kernel.</p>", "A slider; it needs a kernel.")
    """

    _esm = read_script("host.js")
    _css = read_styles("host.css")

    child = traitlets.Instance(Widget).tag(sync=True, **widget_serialization)

    def __init__(self, child: Widget, html: str, text: str) -> None:
        self._static = (html, text)
        super().__init__(child=child)

    def static(self) -> tuple[str, str]:
        """Return what was given."""
        return self._static

    def bundle(self, *, is_final: bool | None = None) -> dict[str, Any]:
        """Return the data of a display; another program's page gets the controls themselves."""
        bundle = super().bundle(is_final=bool(is_final))
        for data in bundle.values():
            if isinstance(data, dict):
                data["model_id"] = self.child.model_id
        return bundle
