"""News come whole, in order and in few lots; what somebody waits for comes at once."""

from __future__ import annotations

import asyncio
import threading
import time

from exsa_lab.events import Event, Source, State, StateEvent, TokenEvent
from exsa_lab.serve.feed import NewsFeed, ends


def token(position: int) -> Event:
    return TokenEvent(position, position, "a", Source.TARGET, None, None, None, position)


async def test_nothing_is_lost_and_the_order_is_kept() -> None:
    feed = NewsFeed(seconds=0.005)

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
    feed = NewsFeed(seconds=3_600.0)
    feed.put(0, [StateEvent(State.RUNNING)])
    assert [index for index, _ in await asyncio.wait_for(feed.lot(), 30)] == [0]
    for index in (0, 1):
        feed.put(index, [token(0)])
        assert await asyncio.wait_for(feed.lot(), 30) == [(index, [token(0)])]
    feed.put(0, [token(1)])
    feed.put(0, [token(2)])
    feed.put(1, [StateEvent(State.FINISHED)])
    lot = await asyncio.wait_for(feed.lot(), 30)
    assert lot == [(0, [token(1), token(2)]), (1, [StateEvent(State.FINISHED)])]


async def test_what_came_meanwhile_is_told_when_the_time_is_over() -> None:
    feed = NewsFeed(seconds=0.01)
    feed.put(0, [token(0)])
    await asyncio.wait_for(feed.lot(), 30)
    feed.put(0, [token(1)])
    assert await asyncio.wait_for(feed.lot(), 30) == [(0, [token(1)])]
    await asyncio.sleep(0.05)  # nothing came: the next one is told at once
    feed.put(0, [token(2)])
    assert await asyncio.wait_for(feed.lot(), 30) == [(0, [token(2)])]
