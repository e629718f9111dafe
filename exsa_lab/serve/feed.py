"""News of a request's generations on their way from the engine's thread to the event loop."""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque

from exsa_lab.events import Event, State, TokenEvent

LOT_SECONDS = 0.03
"""What comes within this time goes to a client in one piece. Nobody reads faster, and each piece takes time from the
engine: with 16 clients on two cores, one for each token is a tenth of it."""


class NewsFeed:
    """Gathers what comes in lots. Made and awaited on the event loop; `put` is called from any thread.

    A generation's first text and its end are told at once.

    Example::

        feed = NewsFeed()
        generation.subscribe(partial(feed.put, 0), inline=True)
        for index, events in await feed.lot(): ...
    """

    def __init__(self, seconds: float = LOT_SECONDS) -> None:
        self._loop = asyncio.get_running_loop()
        self._seconds = seconds
        # Written by whoever puts, and read by the loop: appending and taking from the left need no lock.
        self._arrived: deque[tuple[int, list[Event]]] = deque()
        self._begun: set[int] = set()
        self._has_news = asyncio.Event()
        # Whether the loop will look by itself. Who puts appends first and asks then, the timer the other way around: so
        # that one of them always sees the other.
        self._will_look = False

    def put(self, index: int, events: list[Event]) -> None:
        """Add news of the generation of this number; returns at once."""
        self._arrived.append((index, events))
        if self._will_look and not self._is_urgent(index, events):
            return
        self._will_look = True
        with contextlib.suppress(RuntimeError):  # a loop that is closed needs no events
            self._loop.call_soon_threadsafe(self._has_news.set)

    async def lot(self) -> list[tuple[int, list[Event]]]:
        """Wait for news; returns what came of each generation, in order."""
        await self._has_news.wait()
        self._has_news.clear()
        self._loop.call_later(self._seconds, self._look)
        found: dict[int, list[Event]] = {}
        while self._arrived:
            index, events = self._arrived.popleft()
            found.setdefault(index, []).extend(events)
        return list(found.items())

    def _is_urgent(self, index: int, events: list[Event]) -> bool:
        if index not in self._begun and any(isinstance(event, TokenEvent) for event in events):
            self._begun.add(index)
            return True
        return ends(events)

    def _look(self) -> None:
        self._will_look = False
        if self._arrived:
            self._will_look = True
            self._has_news.set()


def ends(events: list[Event]) -> bool:
    """Whether these are the last events of a generation."""
    return getattr(events[-1], "state", State.RUNNING).is_final
