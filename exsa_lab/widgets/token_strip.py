"""The token strip: a generation's text, live, each token marked by where it came from.

How the page keeps up. Rows (see `rows`) go to it once each, as custom messages ``{"type": "delta", "start": i,
"rows": [...]}``; they arrive even while a cell blocks the kernel, and anywidget hands them over only after the page's
``initialize`` ran, so none is lost. A page that opens later finds a gap and says ``{"type": "hello", "have": n}``. When
the generation ends everything is put into the ``snapshot`` trait once, for views opened after that.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

import traitlets

from exsa_lab.events import Event
from exsa_lab.widgets.feed import Feed
from exsa_lab.widgets.live import LiveWidget
from exsa_lab.widgets.rows import Row, Tally, to_rows
from exsa_lab.widgets.scripts import read_script, read_styles
from exsa_lab.widgets.static import static_views
from exsa_lab.widgets.thought import ThoughtTally

MAX_ROWS = 2_000
"""Most rows in one message (about 100 kB), so that Jupyter's limit on output per second is never near."""
MAX_SNAPSHOT_ROWS = 20_000
"""Most rows, the last ones, that a view opened after the end gets (about 1 MB)."""
SAVE_S = 30.0
"""A generation that runs longer than this is put into the notebook before it ends, then again each time it took twice
as long: its kernel may not live to see the end."""


class TokenStrip(LiveWidget):
    """Shows one generation while it runs and after. Stop in the page cancels it once the kernel is free to listen.

    Example::

        gen = engine.submit("Why is the sky blue?")
        TokenStrip(gen)
    """

    _esm = read_script("token_strip.js")
    _css = read_styles("token_strip.css")

    snapshot = traitlets.Dict().tag(sync=True)
    """Rows and header of a finished generation; empty before."""

    def __init__(
        self, gen: Any, *, update_hz: float = 15.0, start: bool = True, on_final: Callable[[], None] | None = None
    ) -> None:
        """Follow ``gen``; with ``start=False`` only once ``feed.start()`` is called.

        ``on_final`` runs on the feeds' thread after everything was sent.
        """
        super().__init__()
        self.gen = gen
        self._on_final = on_final
        self._started = time.monotonic()
        self._save_after = SAVE_S
        self.tally = Tally()
        self._thought = ThoughtTally(None)
        self._rows: list[Row] = []
        self._lock = threading.Lock()  # guards _rows and the order of messages: the feeds' thread and the kernel's send
        self.feed = Feed(gen, self._deliver, update_hz, conclude=self._conclude, on_error=self._report_feed)
        if start:
            self.feed.start()

    def _deliver(self, events: list[Event], is_last: bool) -> None:
        with self._lock:
            start = len(self._rows)
            self._rows.extend(to_rows(events))
            self.tally.add(events)
            if start == 0:  # How thoughts are marked is known once the prompt was read.
                self._thought = ThoughtTally(self.gen.thinking)
            self._thought.add(events)
            self._send_from(start)
        elapsed = time.monotonic() - self._started
        if not is_last and elapsed > self._save_after:
            self._save_after = 2 * elapsed
            self.publish()

    def _conclude(self) -> None:
        """Keep the whole for views opened later, and for the notebook."""
        with self._lock:
            first = max(0, len(self._rows) - MAX_SNAPSHOT_ROWS)
            self.snapshot = {"start": first, "rows": self._rows[first:], "head": self._head()}
        self.publish()
        if self._on_final is not None:
            self._on_final()

    def _send_from(self, start: int) -> None:
        for first in range(start, max(len(self._rows), start + 1), MAX_ROWS):
            rows = self._rows[first : first + MAX_ROWS]
            self.send({"type": "delta", "start": first, "rows": rows, "head": self._head()})

    def _head(self) -> dict[str, Any]:
        return self.tally.head(self.gen.stats) | {"thought": self._thought.head()}

    def _report_feed(self, error: Exception) -> None:
        self.report(error, "This view stopped; the generation itself goes on.")

    @property
    def is_final(self) -> bool:
        """Whether the end of the generation was shown."""
        return self.tally.state.is_final

    def answer(self, content: Any) -> None:
        """Cancel the generation, or send the rows a page lacks."""
        match content:
            case {"type": "stop"}:
                self.gen.cancel()
            case {"type": "hello", "have": int(have)}:
                with self._lock:
                    self._send_from(min(max(0, have), len(self._rows)))

    def static(self) -> tuple[str, str]:
        """Return the strip without a script, and its text."""
        return static_views(list(self.gen.events), self.gen.stats, thinking=self.gen.thinking)

    def bundle(self, *, is_final: bool | None = None) -> dict[str, Any]:
        """Return the data of a display; a finished strip names no widget."""
        return super().bundle(is_final=self.is_final if is_final is None else is_final)
