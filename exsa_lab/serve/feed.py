"""News of generations on their way from the engine's thread to the event loop, and there to their requests."""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Callable

from exsa_lab.events import Event, State, TokenEvent

LOT_SECONDS = 0.03
"""What comes within this time goes to a client in one piece. Nobody reads faster, and each piece takes time from the
engine: with 16 clients on two cores, one for each token is a tenth of it."""


class Courier:
    """Carries the news of all requests of one event loop, on which it is made.

    A step of the engine has news of every request. To wake the loop for each of them would take the interpreter from
    the engine as often, in the middle of its step: the loop is woken once, and looks when the lot is complete.
    """

    def __init__(self, seconds: float = LOT_SECONDS) -> None:
        self._loop = asyncio.get_running_loop()
        self._seconds = seconds
        # Written by whoever puts, and read by the loop: appending and taking from the left need no lock.
        self._arrived: deque[tuple[NewsFeed, int, list[Event]]] = deque()
        # Whether the loop was told. Who puts appends first and asks then, the loop takes back the flag first and takes
        # the news then: so that one of them always sees the other.
        self._will_look = False
        self._will_hurry = False

    def put(self, feed: NewsFeed, index: int, events: list[Event], *, is_urgent: bool) -> None:
        """Take news along, from any thread; returns at once. What is urgent is delivered at once, and all with it."""
        self._arrived.append((feed, index, events))
        if is_urgent and not self._will_hurry:
            self._will_hurry = True
            self._call(self._hurry)
        elif not is_urgent and not self._will_look:
            self._will_look = True
            self._call(self._wait)

    def _call(self, function: Callable[[], object]) -> None:
        with contextlib.suppress(RuntimeError):  # a loop that is closed needs no events
            self._loop.call_soon_threadsafe(function)

    def _wait(self) -> None:
        self._loop.call_later(self._seconds, self._look)

    def _look(self) -> None:
        self._will_look = False
        self._deliver()

    def _hurry(self) -> None:
        self._will_hurry = False
        self._deliver()

    def _deliver(self) -> None:
        while self._arrived:
            feed, index, events = self._arrived.popleft()
            feed.receive(index, events)


class NewsFeed:
    """News of one request's generations. `put` is called from any thread, everything else on the event loop.

    A generation's first text and its end are told at once, what comes between in lots.

    Example::

        feed = NewsFeed(courier)
        generation.subscribe(partial(feed.put, 0), inline=True)
        for index, events in await feed.lot(): ...
    """

    def __init__(self, courier: Courier) -> None:
        self._courier = courier
        self._begun: set[int] = set()
        """Generations whose first text is on its way. Written by whoever puts."""
        self._lot: dict[int, list[Event]] = {}
        self._has_news = asyncio.Event()

    def put(self, index: int, events: list[Event]) -> None:
        """Add news of the generation of this number; returns at once."""
        self._courier.put(self, index, events, is_urgent=self._is_urgent(index, events))

    def receive(self, index: int, events: list[Event]) -> None:
        """The courier brings these."""
        self._lot.setdefault(index, []).extend(events)
        self._has_news.set()

    async def lot(self) -> list[tuple[int, list[Event]]]:
        """Wait for news; returns what came of each generation, in order."""
        await self._has_news.wait()
        self._has_news.clear()
        lot, self._lot = self._lot, {}
        return list(lot.items())

    def _is_urgent(self, index: int, events: list[Event]) -> bool:
        if index not in self._begun and any(isinstance(event, TokenEvent) for event in events):
            self._begun.add(index)
            return True
        return ends(events)


def ends(events: list[Event]) -> bool:
    """Whether these are the last events of a generation."""
    return getattr(events[-1], "state", State.RUNNING).is_final
