"""Events of one generation, handed over in batches at a limited rate, away from the engine thread."""

from __future__ import annotations

import contextvars
import logging
import threading
from collections.abc import Callable
from typing import Any

from exsa_lab.engine.events import Event, StateEvent

logger = logging.getLogger(__name__)

Deliver = Callable[[list[Event], bool], None]
"""Called with new events, and whether they are the last ones."""

MOST_UPDATES_HZ = 30.0
"""Updates a second of all feeds together. An update takes about a millisecond of the interpreter, wherever it is in the
page: eight views at full rate cost the engine a tenth of its speed."""
_delivering: set[int] = set()
"""The feeds that are at work, by id. Adding and discarding are atomic, and a count that is one off does no harm."""


class Feed:
    """Subscribes to a generation and calls ``deliver`` from a thread of its own, ``update_hz`` times a second at most,
    less often where many feeds are at work.

    The engine thread only appends to a list. The thread ends with the generation, or when ``deliver`` raises: then
    ``error`` holds why.
    """

    def __init__(
        self,
        gen: Any,
        deliver: Deliver,
        update_hz: float = 15.0,
        *,
        on_error: Callable[[Exception], None] | None = None,
    ) -> None:
        """``on_error`` is told what ``deliver`` raised, once; without it that is logged."""
        self.error: Exception | None = None
        self._on_error = on_error or _log
        self._deliver = deliver
        self._period = 1.0 / update_hz
        self._lock = threading.Lock()  # guards _events, which the engine thread fills and the feed's thread empties
        self._events: list[Event] = []
        self._arrived = threading.Event()
        self._ended = threading.Event()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run_without_context, name="exsa-feed", daemon=True)
        self._unsubscribe: Callable[[], None] = gen.subscribe(self._listen)

    def start(self) -> None:
        self._thread.start()

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until the last batch was delivered; False when ``timeout`` seconds passed before that."""
        # Not by joining the thread: an interrupt in the middle of a join leaves it marked as ended before Python 3.13.
        return self._over.wait(timeout)

    def _listen(self, events: list[Event]) -> None:
        with self._lock:
            self._events.extend(events)
        if any(isinstance(event, StateEvent) and event.state.is_final for event in events):
            self._ended.set()
        self._arrived.set()

    def _run_without_context(self) -> None:
        # The kernel keeps the cell a message belongs to in a context variable. An empty context makes it use the cell
        # that runs now, which is the only one headless front ends listen to; JupyterLab goes by the display's id.
        try:
            contextvars.Context().run(self._run)
        finally:
            _delivering.discard(id(self))
            self._over.set()

    def _run(self) -> None:
        is_last = False
        while not is_last:
            self._arrived.wait()
            self._arrived.clear()
            _delivering.add(id(self))
            is_last = self._ended.is_set()
            with self._lock:
                events, self._events = self._events, []
            try:
                self._deliver(events, is_last)
            except Exception as error:
                self.error = error
                self._unsubscribe()
                self._on_error(error)
                return
            self._ended.wait(0 if is_last else max(self._period, len(_delivering) / MOST_UPDATES_HZ))


def _log(error: Exception) -> None:
    logger.error("A view of a generation failed; the generation itself goes on.", exc_info=error)
