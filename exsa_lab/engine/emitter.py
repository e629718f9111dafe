"""From committed tokens to events, in order, each token with its own text."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from exsa_lab.engine.events import Event, TokenEvent
from exsa_lab.engine.text import TextStream


@dataclass(slots=True)
class _Pending:
    event: Event
    needs_text: bool


class Emitter:
    """Holds events back until the text of the tokens before them is known.

    A token's text may wait for the next token: for the rest of a character, or to see whether a stop text begins.
    """

    def __init__(self, stops: tuple[str, ...]) -> None:
        self._stream = TextStream(stops)
        self._pending: deque[_Pending] = deque()
        self._ready: list[Event] = []

    @property
    def stopped(self) -> bool:
        """A stop text was completed; what follows is not part of the result."""
        return self._stream.stopped

    def token(self, event: TokenEvent, piece: bytes) -> None:
        """Add a committed token (its ``text`` is filled in here)."""
        self._pending.append(_Pending(event, needs_text=True))
        self._resolve(self._stream.push(piece))

    def add(self, event: Event) -> None:
        """Add an event that has no text to wait for; it keeps its place in the order."""
        if self._pending:
            self._pending.append(_Pending(event, needs_text=False))
        else:
            self._ready.append(event)

    def finish(self) -> None:
        """No token follows: release what is held."""
        self._resolve(self._stream.flush())

    def take(self) -> list[Event]:
        """Return the events that are complete, oldest first."""
        ready, self._ready = self._ready, []
        return ready

    def _resolve(self, texts: list[str]) -> None:
        for text in texts:
            self._release_plain()
            pending = self._pending.popleft()
            assert isinstance(pending.event, TokenEvent)
            # Nobody has seen the event yet, so its text may still be filled in; a copy would cost ten times that.
            object.__setattr__(pending.event, "text", text)
            self._ready.append(pending.event)
        self._release_plain()

    def _release_plain(self) -> None:
        while self._pending and not self._pending[0].needs_text:
            self._ready.append(self._pending.popleft().event)
