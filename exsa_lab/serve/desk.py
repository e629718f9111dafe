"""What all requests of one server share."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections.abc import Callable, Iterator
from functools import cached_property

from starlette.types import Scope

from exsa_lab.engine.generation import Generation
from exsa_lab.serve.exchange import Exchange
from exsa_lab.serve.feed import Courier
from exsa_lab.serve.gate import Gate
from exsa_lab.serve.limits import Limits
from exsa_lab.serve.metrics import Metrics


class Desk:
    """Numbers requests, bounds them, and knows those that are open. Owned by the server's event loop."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.gate = Gate(limits.max_requests)
        self.metrics = Metrics()
        self._numbers = itertools.count(1)
        self._open: set[Exchange] = set()

    @cached_property
    def courier(self) -> Courier:
        """Brings all requests their news."""
        return Courier()

    def next_origin(self, scope: Scope) -> str:
        """Say where a request came from, as tables show it."""
        client = scope.get("client") or ("?",)
        return f"http {client[0]} req {next(self._numbers)}"

    @contextlib.contextmanager
    def watching(self, exchange: Exchange) -> Iterator[None]:
        """Know an exchange during the block, and count each of its generations once it is over, if that is later."""
        for generation in exchange.generations:
            on_this_loop(generation, self.metrics.count)
        self._open.add(exchange)
        try:
            yield
        finally:
            self._open.discard(exchange)

    def cancel_all(self, reason: str) -> None:
        """Ask for everything that is open to be stopped."""
        for exchange in list(self._open):
            exchange.cancel(reason)


def on_this_loop(generation: Generation, callback: Callable[[Generation], object]) -> None:
    """Call ``callback(generation)`` on this event loop when it is over; never where the loop is closed by then."""
    loop = asyncio.get_running_loop()

    def wake() -> None:
        with contextlib.suppress(RuntimeError):
            loop.call_soon_threadsafe(callback, generation)

    generation.on_end(wake, inline=True)
