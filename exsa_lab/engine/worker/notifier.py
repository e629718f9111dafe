"""Calls other people's code on a thread of its own, so that nothing they do can stop the engine."""

from __future__ import annotations

import contextlib
import queue
import threading
from collections.abc import Callable

CLOSE_S = 5.0
"""Longest wait at the end for code that does not return."""


class Notifier:
    """Runs callbacks one after the other, in order. Its thread begins with the first one.

    Whatever a callback raises ends with it. Any thread may put.

    Example: ``notifier.put(lambda: listener(events))``.
    """

    def __init__(self) -> None:
        self._queue: queue.SimpleQueue[Callable[[], object] | None] = queue.SimpleQueue()
        self._lock = threading.Lock()  # guards _thread and _is_closed
        self._thread: threading.Thread | None = None
        self._is_closed = False

    def put(self, callback: Callable[[], object]) -> None:
        """Call it soon; what is put after `close` is called at once, by whoever puts it."""
        with self._lock:
            is_closed = self._is_closed
            if not is_closed:
                self._queue.put(callback)
                if self._thread is None:
                    self._thread = threading.Thread(target=self._run, name="exsa-notifier", daemon=True)
                    self._thread.start()
        if is_closed:
            _call(callback)

    def close(self) -> None:
        """Wait until all is called; after `CLOSE_S` seconds what still runs is left alone."""
        with self._lock:
            self._is_closed = True
            thread = self._thread
        if thread is not None:
            self._queue.put(None)
            if thread is not threading.current_thread():
                thread.join(CLOSE_S)

    def _run(self) -> None:
        while (callback := self._queue.get()) is not None:
            _call(callback)
            del callback  # a closed engine must not be kept alive by what was called last


def _call(callback: Callable[[], object]) -> None:
    with contextlib.suppress(BaseException):  # sys.exit() in a callback ends that callback
        callback()
