"""Awaiting and streaming, from any event loop; nothing here is an engine."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable

import pytest

from exsa_lab.awaiting import stream_events, wait_for, wait_until_over
from exsa_lab.events import Event, State, StateEvent, TokenEvent

TOKEN = TokenEvent(0, 1, "a", "target", None, None, None, 0)  # type: ignore[arg-type]
END = StateEvent(State.FINISHED, "stop")


class Source:
    """Plays a generation: its events are sent by hand, from any thread."""

    def __init__(self, *events: Event) -> None:
        self.events = list(events)
        self.listeners: list[Callable[[list[Event]], None]] = []
        self.callbacks: list[Callable[[], None]] = []
        self.reasons: list[str] = []

    def subscribe(self, listener: Callable[[list[Event]], None], *, inline: bool = False) -> Callable[[], None]:
        assert inline  # nothing is done but to wake the loop
        if self.events:
            listener(list(self.events))
        self.listeners.append(listener)
        return lambda: self.listeners.remove(listener)

    def on_end(self, callback: Callable[[], None], *, inline: bool = False) -> Callable[[], None]:
        assert inline
        self.callbacks.append(callback)
        if END in self.events:
            callback()
        return lambda: self.callbacks.remove(callback)

    def cancel(self, reason: str = "") -> None:
        self.reasons.append(reason)

    def result(self, timeout: float | None = None) -> str:
        return "a"

    def send(self, *events: Event) -> None:
        self.events += events
        for listener in list(self.listeners):
            listener(list(events))
        for callback in list(self.callbacks) if END in events else []:
            callback()


def from_a_thread(action: Callable[[], None]) -> threading.Thread:
    thread = threading.Thread(target=action)
    thread.start()
    return thread


async def test_events_so_far_and_later_ones_come_in_order_up_to_the_end() -> None:
    source = Source(TOKEN)
    threads, got = [], []
    async for event in stream_events(source):
        got.append(event)
        if len(got) == 1:
            threads.append(from_a_thread(lambda: source.send(TOKEN, END)))
    assert got == [TOKEN, TOKEN, END]
    assert not source.listeners
    for thread in threads:
        thread.join()


async def test_leaving_a_stream_early_unsubscribes_and_cancels_nothing() -> None:
    source = Source(TOKEN, TOKEN)
    stream = stream_events(source)
    assert await anext(stream) == TOKEN
    await stream.aclose()  # type: ignore[attr-defined]
    assert not source.listeners
    assert not source.reasons


async def test_waiting_ends_with_the_end() -> None:
    source = Source()
    waiting = asyncio.ensure_future(wait_for(source))
    await asyncio.sleep(0)
    from_a_thread(lambda: source.send(END)).join()
    assert await waiting == "a"
    assert not source.callbacks


async def test_what_is_over_is_not_waited_for() -> None:
    await wait_until_over(Source(END))


async def test_cancelling_the_awaiting_task_cancels_what_it_awaits() -> None:
    source = Source()
    waiting = asyncio.ensure_future(wait_for(source))
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert source.reasons == ["the awaiting task was cancelled"]
    assert not source.callbacks


async def test_leaving_the_wait_for_its_end_cancels_nothing() -> None:
    source = Source()
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(wait_until_over(source), timeout=0.01)
    assert not source.reasons
    assert not source.callbacks


def test_a_loop_that_is_closed_needs_nothing_more() -> None:
    source = Source()
    loop = asyncio.new_event_loop()
    tasks = [loop.create_task(wait_until_over(source)), loop.create_task(anext(stream_events(source)))]  # type: ignore[arg-type]
    loop.run_until_complete(asyncio.sleep(0))
    listeners, callbacks = list(source.listeners), list(source.callbacks)
    for task in tasks:
        task.cancel()
    loop.run_until_complete(asyncio.gather(*tasks, return_exceptions=True))
    loop.close()
    for listener in listeners:
        listener([END])
    for callback in callbacks:
        callback()
