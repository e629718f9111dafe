"""A generation's plain text, live, without marks: in a notebook, or in a terminal."""

from __future__ import annotations

import sys
import time
import uuid
from typing import Any

from IPython.display import display, update_display

from exsa_lab.events import Event, TokenEvent
from exsa_lab.widgets.feed import Feed
from exsa_lab.widgets.rows import visible
from exsa_lab.widgets.static import static_views

BYTES_PER_SECOND = 200_000
"""Each update carries the whole text; long texts are updated less often, to stay under Jupyter's limit."""


class TextView:
    """Shows the text as one display that is updated while the generation runs."""

    def __init__(self, gen: Any, *, update_hz: float = 15.0) -> None:
        self.text = ""
        self._display_id = uuid.uuid4().hex
        self._not_before = 0.0
        display({"text/plain": ""}, raw=True, display_id=self._display_id)
        self._feed = Feed(gen, self._deliver, update_hz)
        self._feed.start()

    def _ipython_display_(self) -> None:
        """Nothing: it is shown already, also where it is a cell's last expression."""

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until the whole text is shown; False when ``timeout`` seconds passed before that."""
        return self._feed.wait(timeout)

    def _deliver(self, events: list[Event], is_last: bool) -> None:
        self.text += _text(events)
        now = time.monotonic()
        if is_last or now >= self._not_before:
            self._not_before = now + len(self.text) / BYTES_PER_SECOND
            update_display({"text/plain": self.text}, raw=True, display_id=self._display_id)


class TerminalView:
    """Writes the text to standard output while ``wait`` is called, from the caller's own thread.

    Pages that show HTML without IPython, such as marimo's, get the finished strip.
    """

    def __init__(self, gen: Any, *, update_hz: float = 15.0) -> None:
        self._gen = gen
        self._pieces: list[str] = []
        self._feed = Feed(gen, lambda events, _is_last: self._pieces.append(_text(events)), update_hz)
        self._feed.start()
        self._num_written = 0

    def wait(self, timeout: float | None = None) -> bool:
        """Write what comes until the end; False when ``timeout`` seconds passed before that."""
        deadline = None if timeout is None else time.monotonic() + timeout
        is_over = False
        while not is_over:
            is_over = self._feed.wait(0.05)
            self._write()
            if not is_over and deadline is not None and time.monotonic() >= deadline:
                return False
        sys.stdout.write("\n")
        return True

    def _repr_html_(self) -> str:
        self._gen.wait()
        return static_views(list(self._gen.events), self._gen.stats, thinking=self._gen.thinking)[0]

    def _write(self) -> None:
        pieces = self._pieces[self._num_written :]
        self._num_written += len(pieces)
        sys.stdout.write("".join(pieces))
        sys.stdout.flush()


def _text(events: list[Event]) -> str:
    return visible("".join(event.text for event in events if isinstance(event, TokenEvent)))
