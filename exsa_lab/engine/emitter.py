"""From committed tokens to events, in order, each token with its own text."""

from __future__ import annotations

from collections import deque

from exsa_lab.engine.text import TextStream
from exsa_lab.events import Event, TokenEvent


class Emitter:
    """Holds events back until the text of the tokens before them is known.

    A token's text may wait for the next token: for the rest of a character, or to see whether a stop text begins. Its
    bytes come first, by `push`, because a stop text decides what is committed; the event may follow later.
    """

    def __init__(self, stops: tuple[str, ...]) -> None:
        self._stream = TextStream(stops)
        self._texts: deque[str] = deque()
        """Texts of tokens whose events are still to come or still held, oldest first."""
        self._pending: deque[Event] = deque()
        self._ready: list[Event] = []

    @property
    def stopped(self) -> bool:
        """A stop text was completed; what follows is not part of the result."""
        return self._stream.stopped

    def push(self, piece: bytes) -> None:
        """A token of these bytes was committed."""
        self._texts += self._stream.push(piece)

    def add(self, event: Event) -> None:
        """Add an event, which keeps its place in the order. The ``text`` of a token's event is filled in here."""
        if self._pending or isinstance(event, TokenEvent):
            self._pending.append(event)
            self._release()
        else:
            self._ready.append(event)

    def finish(self) -> None:
        """No token follows: release what is held."""
        self._texts += self._stream.flush()
        self._release()

    def take(self) -> list[Event]:
        """Return the events that are complete, oldest first."""
        ready, self._ready = self._ready, []
        return ready

    def _release(self) -> None:
        while self._pending:
            event = self._pending[0]
            if isinstance(event, TokenEvent):
                if not self._texts:
                    return
                # Nobody has seen the event yet, so its text may still be filled in; a copy would cost ten times that.
                object.__setattr__(event, "text", self._texts.popleft())
            self._ready.append(self._pending.popleft())
