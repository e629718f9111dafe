"""The asyncio face of the engine: submit, await, stream, gather, drain; see also `exsa_lab.awaiting`."""

from __future__ import annotations

from collections.abc import AsyncIterator
from types import TracebackType
from typing import Any, Self

from exsa_lab.awaiting import wait_until_over
from exsa_lab.engine.engine import Engine
from exsa_lab.engine.generation import Generation
from exsa_lab.events import Event
from exsa_lab.prompts.messages import Message


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
