"""Await and stream a generation from asyncio, from any event loop, whatever thread it runs in."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from typing import Protocol

from exsa_lab.events import Event, StateEvent


class Awaited(Protocol):
    """What is awaited: it calls back from any thread, when events come and when it is over."""

    def subscribe(self, listener: Callable[[list[Event]], None], *, inline: bool = ...) -> Callable[[], None]: ...

    def on_end(self, callback: Callable[[], None], *, inline: bool = ...) -> Callable[[], None]: ...

    def cancel(self, reason: str = "") -> None: ...

    def result(self, timeout: float | None = None) -> str: ...


async def stream_events(source: Awaited) -> AsyncIterator[Event]:
    """Yield the events of ``source``, those so far included, until its final state.

    Leaving the iteration early does not cancel it.
    """
    loop = asyncio.get_running_loop()
    arrived: asyncio.Queue[list[Event]] = asyncio.Queue()

    def listener(events: list[Event]) -> None:
        # put_nowait from another thread would not wake the loop; a loop that is closed needs no events.
        with contextlib.suppress(RuntimeError):
            loop.call_soon_threadsafe(arrived.put_nowait, events)

    unsubscribe = source.subscribe(listener, inline=True)
    try:
        while True:
            for event in await arrived.get():
                yield event
                if isinstance(event, StateEvent) and event.state.is_final:
                    return
    finally:
        unsubscribe()


async def wait_for(source: Awaited) -> str:
    """Wait for the text; cancelling the awaiting task cancels ``source``. Raises as `Generation.result` does."""
    try:
        await wait_until_over(source)
    except BaseException:  # CancelledError, and GeneratorExit where the coroutine is dropped
        source.cancel("the awaiting task was cancelled")
        raise
    return source.result(timeout=5)


async def wait_until_over(source: Awaited) -> None:
    """Wait for its end, however it ends; leaving early does not cancel it."""
    loop = asyncio.get_running_loop()
    is_over = asyncio.Event()

    def wake() -> None:
        # Setting it from another thread would not wake the loop; a loop that is closed waits for nothing.
        with contextlib.suppress(RuntimeError):
            loop.call_soon_threadsafe(is_over.set)

    forget = source.on_end(wake, inline=True)
    try:
        await is_over.wait()
    finally:
        forget()
