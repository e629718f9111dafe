"""How a generation is put on the screen: as a token strip, as plain text, or not at all."""

from __future__ import annotations

import threading
from collections import deque
from typing import Any, ClassVar, Literal, Protocol, get_args

from IPython.core.getipython import get_ipython

from exsa_lab.config import did_you_mean
from exsa_lab.errors import ConfigError
from exsa_lab.widgets.text_view import TerminalView, TextView
from exsa_lab.widgets.token_strip import TokenStrip

ViewName = Literal["tokens", "text", "none"]
VIEW_NAMES: tuple[str, ...] = get_args(ViewName)

MAX_LIVE_STRIPS = 64
"""Finished strips whose widget is kept; the display of an older one goes back to its static HTML."""


class View(Protocol):
    """Something that shows a generation."""

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until the generation is over and all of it is shown; False when ``timeout`` seconds passed first.

        A cell that blocks must call this, or its output may end before the last update. It can be interrupted, and
        called again.
        """


def show(gen: Any, view: ViewName = "tokens", *, update_hz: float = 15.0) -> View:
    """Show a generation, running or finished, in the current cell's output, and return at once.

    Outside a notebook the text is written while `View.wait` is called. Raises ConfigError for an unknown view.

    Example::

        view = show(engine.submit("Why is the sky blue?"))
        view.wait()
    """
    if view not in VIEW_NAMES:
        raise ConfigError(
            f"view is {view!r}.", hint=f"It must be one of {', '.join(VIEW_NAMES)}.{did_you_mean(view, VIEW_NAMES)}"
        )
    if view == "none":
        return NoView(gen)
    if not hasattr(get_ipython(), "kernel"):
        return TerminalView(gen, update_hz=update_hz)
    return TextView(gen, update_hz=update_hz) if view == "text" else StripDisplay(gen, update_hz=update_hz)


class StripDisplay:
    """A token strip in the cell's output, one of many that stay live after their end."""

    _finished: ClassVar[deque[TokenStrip]] = deque()
    _finished_lock = threading.Lock()  # guards _finished, which the feeds of all strips share

    def __init__(self, gen: Any, *, update_hz: float = 15.0) -> None:
        self.strip = TokenStrip(gen, update_hz=update_hz, start=False, on_final=self._retire_oldest)
        self.strip.show()
        self.strip.feed.start()

    def wait(self, timeout: float | None = None) -> bool:
        """See `View.wait`."""
        return self.strip.feed.wait(timeout)

    def _retire_oldest(self) -> None:
        with self._finished_lock:
            self._finished.append(self.strip)
            oldest = self._finished.popleft() if len(self._finished) > MAX_LIVE_STRIPS else None
        if oldest is not None:
            oldest.close()

    def _ipython_display_(self) -> None:
        """Nothing: it is shown already, also where it is a cell's last expression."""


class NoView:
    """Shows nothing."""

    def __init__(self, gen: Any) -> None:
        self._gen = gen

    def wait(self, timeout: float | None = None) -> bool:
        """See `View.wait`."""
        return bool(self._gen.wait(timeout))
