"""Work that no decode waits for."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import ParamSpec

P = ParamSpec("P")


class Later:
    """A queue of what can be done while the device computes: events, statistics, learning. Owned by the engine thread.

    Where a decode is computed by the time it was submitted there is nothing to wait for: everything is done at once.

    Example::

        later = Later(waits=True)
        later.do(print, "done")  # nothing yet
        later.flush()            # done
    """

    def __init__(self, *, waits: bool) -> None:
        self._waits = waits
        self._queue: deque[Callable[[], object]] = deque()

    @property
    def is_waiting(self) -> bool:
        """Whether there is anything to do."""
        return bool(self._queue)

    def do(self, action: Callable[P, object], *args: P.args, **kwargs: P.kwargs) -> None:
        """Call ``action`` at the next `flush`, in order, or at once."""
        if self._waits:
            self._queue.append(lambda: action(*args, **kwargs))
        else:
            action(*args, **kwargs)

    def flush(self) -> None:
        """Do all that waits; raises the first error once all was done."""
        error: Exception | None = None
        while self._queue:
            try:
                self._queue.popleft()()
            except Exception as raised:  # what comes after it belongs to other sequences, too
                error = error or raised
        if error is not None:
            raise error
