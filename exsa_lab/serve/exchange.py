"""One request on its way: the generations it became, and what happens to them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from functools import partial
from typing import Self

from exsa_lab.awaiting import wait_until_over
from exsa_lab.engine.engine import Engine
from exsa_lab.engine.generation import Generation
from exsa_lab.events import Event, State
from exsa_lab.serve.api_errors import ApiError, api_error
from exsa_lab.serve.feed import Courier, NewsFeed, ends
from exsa_lab.serve.parameters import ApiRequest

GONE = "the client went away"


class Exchange:
    """The generations of one request. Owned by the server's event loop.

    Leaving the ``with`` block cancels what is not over.
    """

    def __init__(self, engine: Engine, request: ApiRequest, origin: str) -> None:
        """Submit everything; raises ExsaError where one is refused, and then none goes on."""
        self.generations: list[Generation] = []
        try:
            for prompt in request.prompts:
                for choice in range(request.num_choices):
                    self.generations.append(engine.submit(prompt, origin=origin, **request.params_of(choice)))
        except BaseException:
            self.cancel("another text of the request was refused")
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.cancel(GONE)

    def cancel(self, reason: str) -> None:
        """Ask for what is not over to be stopped."""
        for generation in self.generations:
            if not generation.state.is_final:
                generation.cancel(reason)

    async def wait(self) -> None:
        """Wait until all are over; raises ApiError where one ended without a text to give."""
        for generation in self.generations:
            await wait_until_over(generation)
        for generation in self.generations:
            check(generation)

    async def events(self, courier: Courier) -> AsyncIterator[tuple[int, list[Event]]]:
        """Yield (number of the generation, its news) as they come, until all are over."""
        feed = NewsFeed(courier)
        stops: list[Callable[[], None]] = []
        try:
            for index, generation in enumerate(self.generations):
                stops.append(generation.subscribe(partial(feed.put, index), inline=True, looks=False))
            num_open = len(self.generations)
            while num_open:
                for index, events in await feed.lot():
                    yield index, events
                    num_open -= ends(events)
        finally:
            for stop in stops:
                stop()


def timed_out(generation: Generation) -> bool:
    """Whether it was ended by its deadline; its text so far is the reply then."""
    return generation.state is State.CANCELLED and generation.cancel_reason.startswith("timeout of")


def finish_reason(generation: Generation) -> str:
    """Return why it ended, in OpenAI's words."""
    return "stop" if generation.finish_reason == "stop" else "length"


def check(generation: Generation) -> None:
    """Raise ApiError where a generation that is over has no text to give."""
    if generation.error is not None:
        raise api_error(generation.error)
    if generation.state is State.CANCELLED and not timed_out(generation):
        why = f": {generation.cancel_reason}" if generation.cancel_reason else ""
        raise ApiError(503, f"The request was cancelled{why}.", type="service_unavailable", code="cancelled")
