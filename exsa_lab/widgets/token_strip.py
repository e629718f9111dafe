"""The token strip: a generation's text, live, each token marked by where it came from.

How the page keeps up. Rows (see `rows`) go to it once each, as custom messages ``{"type": "delta", "start": i,
"rows": [...]}``; they arrive even while a cell blocks the kernel, and anywidget hands them over only after the page's
``initialize`` ran, so none is lost. A page that opens later finds a gap and says ``{"type": "hello", "have": n}``. When
the generation ends everything is put into the ``snapshot`` trait once, for views opened after that.
"""

from __future__ import annotations

import pathlib
import threading
import uuid
from collections.abc import Callable
from typing import Any

import anywidget
import traitlets

from exsa_lab.engine.events import Event
from exsa_lab.widgets.feed import Feed
from exsa_lab.widgets.rows import Row, Tally, to_rows
from exsa_lab.widgets.static import static_html, static_text

MAX_ROWS = 2_000
"""Most rows in one message (about 100 kB), so that Jupyter's limit on output per second is never near."""
MAX_SNAPSHOT_ROWS = 20_000
"""Most rows, the last ones, that a view opened after the end gets (about 1 MB)."""

WIDGET_VIEW = "application/vnd.jupyter.widget-view+json"


class TokenStrip(anywidget.AnyWidget):
    """Shows one generation while it runs and after. Stop in the page cancels it once the kernel is free to listen.

    Example::

        gen = engine.submit("Why is the sky blue?")
        TokenStrip(gen)
    """

    _esm = pathlib.Path(__file__).with_name("token_strip.js")
    _css = pathlib.Path(__file__).with_name("token_strip.css")

    strip_id = traitlets.Unicode().tag(sync=True)
    """Ties the static HTML of a display to this widget: the page then shows this instead."""
    snapshot = traitlets.Dict().tag(sync=True)
    """Rows and header of a finished generation; empty before."""

    def __init__(
        self, gen: Any, *, update_hz: float = 15.0, start: bool = True, on_final: Callable[[], None] | None = None
    ) -> None:
        """Follow ``gen``; with ``start=False`` only once ``feed.start()`` is called.

        ``on_final`` runs on the feed's thread after everything was sent.
        """
        super().__init__(strip_id=uuid.uuid4().hex)
        self.gen = gen
        self._on_final = on_final
        self.tally = Tally()
        self._rows: list[Row] = []
        self._lock = threading.Lock()  # guards _rows and the order of messages: the feed's thread and the kernel's send
        self.on_msg(self._receive)
        self.feed = Feed(gen, self._deliver, update_hz)
        if start:
            self.feed.start()

    def _deliver(self, events: list[Event], is_last: bool) -> None:
        with self._lock:
            start = len(self._rows)
            self._rows.extend(to_rows(events))
            self.tally.add(events)
            self._send_from(start)
            if is_last:
                first = max(0, len(self._rows) - MAX_SNAPSHOT_ROWS)
                self.snapshot = {"start": first, "rows": self._rows[first:], "head": self._head()}
        if is_last and self._on_final is not None:
            self._on_final()

    def _send_from(self, start: int) -> None:
        for first in range(start, max(len(self._rows), start + 1), MAX_ROWS):
            rows = self._rows[first : first + MAX_ROWS]
            self.send({"type": "delta", "start": first, "rows": rows, "head": self._head()})

    def _head(self) -> dict[str, Any]:
        return self.tally.head(self.gen.stats)

    def _receive(self, _widget: object, content: Any, _buffers: object) -> None:
        """Answer the page. What it sends is not trusted: anything unexpected is ignored."""
        match content:
            case {"type": "stop"}:
                self.gen.cancel()
            case {"type": "hello", "have": int(have)}:
                with self._lock:
                    self._send_from(min(max(0, have), len(self._rows)))

    def _repr_mimebundle_(self, **_kwargs: object) -> tuple[dict[str, Any], dict[str, Any]]:
        """Live: the widget. Finished: the static view, which the page replaces by this widget while it has it.

        A saved notebook that names a widget shows only "model not found" once its kernel is gone, even if it carries
        HTML too; this way it shows the HTML.
        """
        is_final = self.tally.state.is_final
        events, stats = list(self.gen.events), self.gen.stats
        bundle: dict[str, Any] = {
            "text/plain": static_text(events, stats),
            "text/html": static_html(events, stats, strip_id=self.strip_id),
        }
        if not is_final:
            bundle[WIDGET_VIEW] = {"version_major": 2, "version_minor": 0, "model_id": self.model_id}
        return bundle, {}
