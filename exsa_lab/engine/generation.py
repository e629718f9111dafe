"""The handle of one submitted prompt: what users hold while the engine works."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import AsyncIterator, Callable, Generator
from dataclasses import asdict, dataclass
from typing import Any, TypeVar

from exsa_lab.awaiting import stream_events, wait_for
from exsa_lab.config import EngineConfig, SamplingParams
from exsa_lab.engine.stats import Stats
from exsa_lab.errors import ExsaError, GenerationCancelled
from exsa_lab.events import Event, State, StateEvent, TokenEvent
from exsa_lab.trace.positions import Positions
from exsa_lab.trace.trace import Trace

Listener = Callable[[list[Event]], None]
Message = dict[str, str]
_Callback = TypeVar("_Callback")


@dataclass(frozen=True, slots=True)
class EngineAccess:
    """What the generations of one engine get from it."""

    config: EngineConfig
    model_names: dict[str, str | None]
    """Names of target and draft."""
    cancel: Callable[[Generation], None]
    """Ask for one to be stopped."""
    positions: Callable[[Trace], Positions]
    """Compute both models' logits along a recorded text."""


class Generation:
    """A prompt on its way through the engine.

    Everything the engine writes here (state, events, statistics) is written by the engine thread alone; the lock
    guards only the list of listeners and what a late one must be told.

    Example::

        gen = engine.submit("Why is the sky blue?", max_tokens=64)
        print(gen.result())          # waits; or `await gen`, or `async for event in gen.stream()`
        gen.stats.acceptance_rate
    """

    def __init__(self, access: EngineAccess, id: int, prompt: str | list[Message], params: SamplingParams) -> None:
        self.id = id
        self.prompt = prompt
        self.params = params
        self.state = State.WAITING
        self.finish_reason: str | None = None
        self.error: ExsaError | None = None
        self.events: list[Event] = []
        self.tokens: list[int] = []
        self.prompt_ids: list[int] = []
        self.end_ids: list[int] = []
        self.stats = Stats()
        self.seed: int | None = params.seed
        self.submitted = time.perf_counter()
        self.cancel_reason = ""
        self._access = access
        self._texts: list[str] = []
        self._done = threading.Event()
        self._lock = threading.Lock()
        self._listeners: list[Listener] = []
        self._on_end: list[Callable[[], None]] = []

    def __repr__(self) -> str:
        speed = f", {self.stats.tokens_per_second:.0f} tok/s" if self.stats.tokens_per_second else ""
        return f"<Generation {self.id} {self.state}: {len(self.tokens)} tokens{speed}>"

    # Reading

    @property
    def text(self) -> str:
        """The text so far."""
        return "".join(self._texts)

    @property
    def trace(self) -> Trace:
        """Everything that happened so far, as a value that can be saved."""
        return Trace(
            events=list(self.events),
            prompt=self.prompt if isinstance(self.prompt, str) else "\n".join(m["content"] for m in self.prompt),
            params=asdict(self.params) | {"seed": self.seed, "stop": list(self.params.stop)},
            config=asdict(self._access.config),
            models=dict(self._access.model_names),
            stats=self.stats.as_dict(),
            prompt_ids=list(self.prompt_ids),
            end_ids=list(self.end_ids),
        )

    def positions(self) -> Positions:
        """Return what both models thought before each token so far: their logits, computed again in one pass of each.

        The engine's other generations wait meanwhile. Raises ConfigError for a text of more than
        `exsa_lab.trace.MAX_POSITIONS` tokens, OutOfMemory where there is no room.

        Example: ``gen.positions().p(5, temperature=0.8)`` is the target's distribution of the sixth token.
        """
        return self._access.positions(self.trace)

    # Waiting

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until it is over, however it ended; False when ``timeout`` seconds passed before that."""
        deadline = None if timeout is None else time.monotonic() + timeout
        # Short waits keep Ctrl-C working where a lock's wait cannot be interrupted (Windows).
        while not self._done.wait(0.2 if deadline is None else max(0.0, min(0.2, deadline - time.monotonic()))):
            if deadline is not None and time.monotonic() >= deadline:
                return False
        return True

    def result(self, timeout: float | None = None) -> str:
        """Wait for the text.

        Raises the generation's own error when it failed, GenerationCancelled when it was cancelled, and TimeoutError
        when ``timeout`` seconds passed (it goes on running).
        """
        if not self.wait(timeout):
            raise TimeoutError(f"Generation {self.id} is still {self.state} after {timeout:g} s.")
        return self._outcome()

    def _outcome(self) -> str:
        if self.error is not None:
            raise self.error
        if self.state is State.CANCELLED:
            why = f" ({self.cancel_reason})" if self.cancel_reason else ""
            raise GenerationCancelled(f"Generation {self.id} was cancelled{why}.", hint="Its partial text is in .text.")
        return self.text

    def __await__(self) -> Generator[Any, None, str]:
        return wait_for(self).__await__()

    def stream(self) -> AsyncIterator[Event]:
        """Iterate over its events, those so far included: ``async for event in gen.stream()``."""
        return stream_events(self)

    def cancel(self, reason: str = "") -> None:
        """Ask the engine to stop it; safe from any thread, and harmless once it is over."""
        self.cancel_reason = self.cancel_reason or reason
        self._access.cancel(self)

    # Listening

    def subscribe(self, listener: Listener) -> Callable[[], None]:
        """Call ``listener(events)`` with everything so far, then after each round; returns how to stop that.

        Later calls come from the engine thread: be quick. Nothing follows a final StateEvent.
        """
        with self._lock:
            if self.events:
                listener(list(self.events))
            if not self.state.is_final:
                self._listeners.append(listener)

        return lambda: self._forget(self._listeners, listener)

    def on_end(self, callback: Callable[[], None]) -> Callable[[], None]:
        """Call ``callback()`` once when it is over, at once if it is already; returns how to stop that.

        Cheaper than `subscribe` for who does not look at the events. It runs on the engine thread: be quick.
        """
        with self._lock:
            is_over = self._done.is_set()
            if not is_over:
                self._on_end.append(callback)
        if is_over:
            callback()

        return lambda: self._forget(self._on_end, callback)

    @property
    def is_watched(self) -> bool:
        """Whether somebody listens to its events now."""
        return bool(self._listeners)

    # Engine side

    def publish(self, events: list[Event]) -> None:
        """Engine thread only: add events and tell the listeners."""
        if not events:
            return
        with self._lock:
            self.events.extend(events)
            for event in events:
                if isinstance(event, TokenEvent):
                    self._texts.append(event.text)
                elif isinstance(event, StateEvent):
                    self.state = event.state
            listeners = list(self._listeners)
            if self.state.is_final:
                self._listeners.clear()
        for listener in listeners:
            self._tell(listener, events)
        if self.state.is_final:
            self._finish()

    def _tell(self, listener: Listener, events: list[Event]) -> None:
        try:
            listener(events)
        except Exception:  # a broken view must not stop the engine, which serves others
            self._forget(self._listeners, listener)

    def _forget(self, callbacks: list[_Callback], callback: _Callback) -> None:
        with self._lock:
            if callback in callbacks:
                callbacks.remove(callback)

    def _finish(self) -> None:
        with self._lock:
            self._done.set()
            callbacks = list(self._on_end)
            self._on_end.clear()
        for callback in callbacks:
            with contextlib.suppress(Exception):  # nor must whoever waits for its end
                callback()
