"""A progress bar: in a notebook one display that is updated, in a terminal one line that is rewritten."""

from __future__ import annotations

import sys
import time
import uuid
from html import escape

from IPython.core.getipython import get_ipython
from IPython.display import display, update_display

from exsa_lab.widgets.rows import visible

_WIDTH = 24
_PERIOD_S = 0.1
_BAR = (
    '<span style="display:inline-block;width:16em;height:.55em;margin:0 .6em;border-radius:3px;'
    'background:linear-gradient(90deg,#009e73 {0:.1f}%,rgba(128,128,128,.3) {0:.1f}%)"></span>'
)


class ProgressBar:
    """Appears with the first `update`, which may come from any thread, and gives way to one line of text.

    ``label`` may change from update to update.
    """

    def __init__(self, label: str) -> None:
        self.label = label
        self._is_notebook = hasattr(get_ipython(), "kernel")
        self._is_animated = self._is_notebook or sys.stdout.isatty()
        self._display_id = uuid.uuid4().hex
        self._is_shown = False
        self._not_before = 0.0

    def update(self, fraction: float) -> None:
        """Show the fraction done, 0..1; too many calls cost nothing."""
        now = time.monotonic()
        if not self._is_animated or (now < self._not_before and fraction < 1):
            return
        self._not_before = now + _PERIOD_S
        filled = round(_WIDTH * fraction)
        rest = "getting ready" if fraction >= 1 else f"{fraction:4.0%}"
        bar = _BAR.format(100 * fraction)
        html = f"{escape(visible(self.label))} {bar} {rest}"
        self._show(f"{self.label}  {'█' * filled}{'░' * (_WIDTH - filled)}  {rest}", html)

    def finish(self, text: str) -> None:
        """Put a text in place of the bar; "" takes the bar away."""
        if text or self._is_shown:
            self._show(text)
        if not self._is_notebook and text:
            sys.stdout.write("\n")

    def _show(self, text: str, html: str = "") -> None:
        text = visible(text)
        if self._is_notebook:
            html = f'<div style="white-space:pre-wrap;font-size:13px">{html or escape(text)}</div>'
            data = {"text/plain": text, "text/html": html}
            (update_display if self._is_shown else display)(data, raw=True, display_id=self._display_id)
        else:
            sys.stdout.write(f"\r\x1b[K{text}" if sys.stdout.isatty() else text)
            sys.stdout.flush()
        self._is_shown = True
