"""News come whole, in order and in few lots; what somebody waits for comes at once."""

from __future__ import annotations

import asyncio
import threading
import time

import pytest

from exsa_lab.events import Event, Source, State, StateEvent, TokenEvent
from exsa_lab.serve.feed import Courier, NewsFeed, ends


def token(position: int) -> Event:
    return TokenEvent(position, position, "a", Source.TARGET, None, None, None, position)


async def test_nothing_is_lost_and_the_order_is_kept() -> None:
    feed = NewsFeed(Courier(seconds=0.005))

    def put(index: int) -> None:
        for position in range(300):
            feed.put(index, [token(position)])
            if position % 50 == 0:
                time.sleep(0.004)
        feed.put(index, [StateEvent(State.FINISHED)])

    threads = [threading.Thread(target=put, args=(index,)) for index in range(3)]
    for thread in threads:
        thread.start()
    found: dict[int, list[Event]] = {0: [], 1: [], 2: []}
    num_open, num_pieces = 3, 0
    while num_open:
        for index, events in await asyncio.wait_for(feed.lot(), 30):
            found[index] += events
            num_pieces += 1
            num_open -= ends(events)
    for events in found.values():
        assert [event.position for event in events[:-1]] == list(range(300))  # type: ignore[union-attr]
        assert ends(events)
    assert num_pieces < 300


async def test_first_text_and_end_are_told_at_once_and_the_rest_in_lots() -> None:
    feed = NewsFeed(Courier(seconds=3_600.0))
    running = StateEvent(State.RUNNING)
    feed.put(0, [running])
    feed.put(0, [token(0)])
    assert await asyncio.wait_for(feed.lot(), 30) == [(0, [running, token(0)])]
    feed.put(1, [token(0)])
    assert await asyncio.wait_for(feed.lot(), 30) == [(1, [token(0)])]
    feed.put(0, [token(1)])
    feed.put(0, [token(2)])
    feed.put(1, [StateEvent(State.FINISHED)])
    lot = await asyncio.wait_for(feed.lot(), 30)
    assert lot == [(0, [token(1), token(2)]), (1, [StateEvent(State.FINISHED)])]


async def test_what_is_not_urgent_is_told_when_the_time_is_over_every_time() -> None:
    feed = NewsFeed(Courier(seconds=0.01))
    feed.put(0, [token(0)])
    await asyncio.wait_for(feed.lot(), 30)
    for position in (1, 2):
        feed.put(0, [token(position)])
        assert await asyncio.wait_for(feed.lot(), 30) == [(0, [token(position)])]
        await asyncio.sleep(0.03)


async def test_a_step_of_many_requests_wakes_the_loop_once(monkeypatch: pytest.MonkeyPatch) -> None:
    courier = Courier(seconds=0.5)
    feeds = [NewsFeed(courier) for _ in range(16)]
    for feed in feeds:
        feed.put(0, [token(0)])
        await asyncio.wait_for(feed.lot(), 30)
    calls: list[object] = []
    loop = asyncio.get_running_loop()
    call = loop.call_soon_threadsafe
    monkeypatch.setattr(loop, "call_soon_threadsafe", lambda *args: (calls.append(args), call(*args)))
    for position, feed in enumerate(feeds, 1):
        feed.put(0, [token(position)])
    for position, feed in enumerate(feeds, 1):
        assert await asyncio.wait_for(feed.lot(), 30) == [(0, [token(position)])]
    assert len(calls) == 1
