"""The asyncio face of the engine: await, stream, gather, drain - from any loop, whatever thread it runs in."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from types import TracebackType
from typing import Any, Self

from exsa_lab.engine.engine import Engine
from exsa_lab.engine.generation import Generation, Message
from exsa_lab.events import Event, StateEvent


async def stream_events(generation: Generation) -> AsyncIterator[Event]:
    """Yield the generation's events, those so far included, until its final state.

    Leaving the iteration early does not cancel the generation.
    """
    loop = asyncio.get_running_loop()
    arrived: asyncio.Queue[list[Event]] = asyncio.Queue()

    def listener(events: list[Event]) -> None:
        # put_nowait from another thread would not wake the loop; a loop that is closed needs no events.
        if not loop.is_closed():
            loop.call_soon_threadsafe(arrived.put_nowait, events)

    unsubscribe = generation.subscribe(listener)
    try:
        while True:
            for event in await arrived.get():
                yield event
                if isinstance(event, StateEvent) and event.state.is_final:
                    return
    finally:
        unsubscribe()


async def wait_for(generation: Generation) -> str:
    """Wait for the text; cancelling the awaiting task cancels the generation. Raises as `Generation.result` does."""
    try:
        await wait_until_over(generation)
    except asyncio.CancelledError:
        generation.cancel("the awaiting task was cancelled")
        raise
    return generation.result(timeout=5)


async def wait_until_over(generation: Generation) -> None:
    """Wait for its end, however it ends; leaving early does not cancel it."""
    loop = asyncio.get_running_loop()
    is_over = asyncio.Event()

    def wake() -> None:
        # Setting it from another thread would not wake the loop; a loop that is closed waits for nothing.
        if not loop.is_closed():
            loop.call_soon_threadsafe(is_over.set)

    forget = generation.on_end(wake)
    try:
        await is_over.wait()
    finally:
        forget()


class BatchManager:
    """Submits to an engine from coroutines, holding back when too many wait.

    Example::

        async with BatchManager(engine) as batch:
            texts = await asyncio.gather(*(batch.generate(p, max_tokens=64) for p in prompts))
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        # Generations submitted here and not over yet; touched only from the loop's thread.
        self._open: set[Generation] = set()

    def __repr__(self) -> str:
        return f"<BatchManager: {len(self.pending)} pending on {self._engine!r}>"

    @property
    def pending(self) -> list[Generation]:
        """Generations submitted here that are not over yet, oldest first."""
        self._open = {generation for generation in self._open if not generation.state.is_final}
        return sorted(self._open, key=lambda generation: generation.id)

    def submit(self, prompt: str | list[Message], **params: Any) -> Generation:
        """Queue a prompt; raises QueueFull when the engine's queue is full."""
        generation = self._engine.submit(prompt, **params)
        self._open.add(generation)
        return generation

    async def generate(self, prompt: str | list[Message], **params: Any) -> str:
        """Submit and wait for the text."""
        return await self.submit(prompt, **params)

    def stream(self, prompt: str | list[Message], **params: Any) -> AsyncIterator[Event]:
        """Submit and iterate over the events."""
        return self.submit(prompt, **params).stream()

    def cancel(self) -> int:
        """Cancel everything submitted here; returns how many were pending."""
        pending = self.pending
        for generation in pending:
            generation.cancel()
        return len(pending)

    async def drain(self) -> None:
        """Wait until everything submitted here is over, however it ended."""
        for generation in self.pending:
            await wait_until_over(generation)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is not None:
            self.cancel()
        await self.drain()
