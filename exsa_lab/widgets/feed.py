"""Events of generations, handed over to their views in batches at a limited rate, away from the engine thread."""

from __future__ import annotations

import contextvars
import logging
import threading
import time
from collections.abc import Callable
from typing import Any

from exsa_lab.events import Event, StateEvent

logger = logging.getLogger(__name__)

Deliver = Callable[[list[Event], bool], None]
"""Called with new events, and whether they are the last ones."""

MOST_UPDATES_HZ = 30.0
"""Updates a second of all feeds together; each of them takes a share of the interpreter from the engine."""
CONCLUDE_S = 1.0
"""Longest time that the end of a feed is left unconcluded while others are at work and nobody waits for it."""


class Feed:
    """Subscribes to a generation and has ``deliver`` called ``update_hz`` times a second at most, less often where many
    feeds are at work.

    The engine thread only appends to a list; one thread serves all feeds. A feed ends with its generation, or when
    ``deliver`` raises: then ``error`` holds why.
    """

    def __init__(
        self,
        gen: Any,
        deliver: Deliver,
        update_hz: float = 15.0,
        *,
        conclude: Callable[[], None] = lambda: None,
        on_error: Callable[[Exception], None] | None = None,
    ) -> None:
        """``conclude`` is called after the last batch, once other feeds leave time for it: for what is dear and not
        urgent. ``on_error`` is told what either of them raised, once; without it that is logged.
        """
        self.error: Exception | None = None
        self.period = 1.0 / update_hz
        self._deliver = deliver
        self._conclude = conclude
        self._on_error = on_error or _log
        self._lock = threading.Lock()  # guards _events and _has_ended, which the engine thread writes
        self._events: list[Event] = []
        self._has_ended = False
        self._delivered_s: float | None = None
        self._is_awaited = False
        self._over = threading.Event()
        self._unsubscribe: Callable[[], None] = gen.subscribe(self._listen, inline=True)

    def start(self) -> None:
        _server.add(self)

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until the end was delivered and concluded; False when ``timeout`` seconds passed before that."""
        if not self._is_awaited:
            self._is_awaited = True
            _server.wake(at_once=True)
        return self._over.wait(timeout)

    def _listen(self, events: list[Event]) -> None:
        has_ended = any(isinstance(event, StateEvent) and event.state.is_final for event in events)
        with self._lock:
            self._events.extend(events)
            self._has_ended = self._has_ended or has_ended
        _server.wake(at_once=has_ended)

    # The server's thread

    @property
    def is_over(self) -> bool:
        return self._over.is_set()

    @property
    def is_delivered(self) -> bool:
        """Whether the last batch was delivered, so that only concluding is left."""
        return self._delivered_s is not None

    @property
    def has_news(self) -> bool:
        """Whether something is to be delivered."""
        return bool(self._events)

    @property
    def has_ended(self) -> bool:
        """Whether nothing will follow; an end does not wait for a round."""
        return self._has_ended

    def update(self) -> None:
        """Deliver what has arrived."""
        with self._lock:
            events, self._events = self._events, []
            is_last = self._has_ended
        self._try(lambda: self._deliver(events, is_last))
        if is_last:
            self._delivered_s = time.monotonic()

    def conclude(self, *, is_quiet: bool) -> None:
        """Do what is left at the end, if it is time for that."""
        if self._delivered_s is None or self.is_over:
            return
        if is_quiet or self._is_awaited or time.monotonic() >= self._delivered_s + CONCLUDE_S:
            self._try(self._conclude)
            self._over.set()

    def _try(self, act: Callable[[], None]) -> None:
        try:
            act()
        except Exception as error:
            self.error = error
            self._unsubscribe()
            try:
                self._on_error(error)
            except Exception as again:  # the other feeds must not suffer from it
                _log(again)
            self._over.set()


class _Server:
    """Serves all feeds from one thread, in rounds.

    An update takes 0.1 ms right after another one, and four times that alone, when a decode has just filled the caches
    with the model's weights.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()  # guards _feeds and _is_serving
        self._feeds: list[Feed] = []
        self._is_serving = False
        self._news = threading.Event()  # there is something to do
        self._urgent = threading.Event()  # and it does not wait for the next round
        self._round_done = threading.Condition()

    def add(self, feed: Feed) -> None:
        with self._lock:
            self._feeds.append(feed)
            is_new = not self._is_serving
            self._is_serving = True
        if is_new:
            # The kernel keeps the cell a message belongs to in a context variable. An empty context makes it use the
            # cell that runs now, which is the only one headless front ends listen to; JupyterLab goes by the display's
            # id.
            context = contextvars.Context()
            threading.Thread(target=context.run, args=(self._serve,), name="exsa-feeds", daemon=True).start()
        self.wake()

    def wake(self, *, at_once: bool = False) -> None:
        self._news.set()
        if at_once:
            self._urgent.set()

    def wait_for_round(self, timeout: float) -> None:
        """See `wait_for_round`."""
        with self._round_done:
            if self._is_serving:
                self._round_done.wait(timeout)

    def _serve(self) -> None:
        next_round = 0.0
        while feeds := self._unfinished():
            is_round = time.monotonic() >= next_round
            due = [feed for feed in feeds if feed.has_news and (is_round or feed.has_ended)]
            for feed in due:
                feed.update()
            if is_round and due:
                fastest = min(feed.period for feed in due)
                next_round = time.monotonic() + max(fastest, len(due) / MOST_UPDATES_HZ)
                with self._round_done:
                    self._round_done.notify_all()
            is_quiet = all(feed.is_delivered or feed.is_over for feed in feeds)
            for feed in feeds:
                feed.conclude(is_quiet=is_quiet)
            self._sleep(feeds, next_round)

    def _unfinished(self) -> list[Feed]:
        with self._lock:
            self._feeds = [feed for feed in self._feeds if not feed.is_over]
            self._is_serving = bool(self._feeds)
            return list(self._feeds)

    def _sleep(self, feeds: list[Feed], next_round: float) -> None:
        """Sleep until the next round, and on until there is something to deliver or to conclude."""
        self._urgent.wait(max(0.0, next_round - time.monotonic()))
        self._urgent.clear()
        running = [feed for feed in feeds if not feed.is_over]
        if not any(feed.has_news for feed in running):
            self._news.wait(CONCLUDE_S / 4 if any(feed.is_delivered for feed in running) else None)
        self._news.clear()


_server = _Server()


def wait_for_round(timeout: float) -> None:
    """Wait until all feeds were served once more, ``timeout`` seconds at most, and not at all where there is none.

    What another view sends right then costs less than at a time of its own.
    """
    _server.wait_for_round(timeout)


def _log(error: Exception) -> None:
    logger.error("A view of a generation failed; the generation itself goes on.", exc_info=error)
