"""Listeners of a growing list of events: each is told all of them, in order."""

from __future__ import annotations

import threading
from collections.abc import Callable

from exsa_lab.events import Event

Listener = Callable[[list[Event]], None]


class Subscription:
    """A listener, and how many of the events it was told.

    One thread at a time tells it; another one that has news meanwhile leaves them to that one. So the order is kept,
    and nobody ever waits for a listener.

    ``looks``: whether it looks at the tokens' probabilities, which are computed only where somebody does.

    Example::

        subscription = Subscription(events, print, inline=True)
        subscription.tell()  # prints those that are new
    """

    def __init__(self, events: list[Event], listener: Listener, *, inline: bool, looks: bool = True) -> None:
        self.is_inline = inline
        self.looks = looks
        self._events = events
        self._listener = listener
        self._num_told = 0
        self._is_telling = threading.Lock()

    def tell(self) -> None:
        """Give it what it does not know yet; raises what it raises."""
        while self._num_told < len(self._events) and self._is_telling.acquire(blocking=False):
            try:
                news = self._events[self._num_told :]
                self._num_told += len(news)
                self._listener(news)
            finally:
                self._is_telling.release()
