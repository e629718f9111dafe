"""From token bytes to text and events: incremental UTF-8, stop texts that may span tokens, events in order."""

from __future__ import annotations

import codecs
from collections import deque

from exsa_lab.events import Event, TokenEvent


class TextStream:
    """Turns the pieces of one generation into texts, one a token, and finds stop texts.

    A token's text is released once no stop text can begin in it any more. Bytes of an incomplete character
    count to the token that completes it; bytes that are not UTF-8 become U+FFFD. A text that ends inside a character
    ends before it: nobody can say what it would have been. ``begun`` are bytes of a character that a text before this
    one ended inside of.

    Example::

        stream = TextStream(stops=("END",))
        stream.push(b"a E")   # [] - "E" may become "END"
        stream.push(b"ND")    # ["a ", ""], and stream.stopped is True
    """

    def __init__(self, stops: tuple[str, ...] = (), begun: bytes = b"") -> None:
        self.stopped = False
        self._stops = stops
        self._longest = max((len(stop) for stop in stops), default=0)
        self._decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
        self._decoder.decode(begun)
        self._held: list[str] = []

    def push(self, piece: bytes) -> list[str]:
        """Add one token's bytes; return the texts of the tokens released by it, oldest first."""
        self._held.append(self._decoder.decode(piece))
        if not self._stops:
            return self._release(self._num_complete())
        held = "".join(self._held)
        cut = min((at for stop in self._stops if (at := held.find(stop)) >= 0), default=-1)
        if cut >= 0:
            self.stopped = True
            self._cut(cut)
            return self._release(len(self._held))
        return self._release(min(self._num_safe(held), self._num_complete()))

    def flush(self) -> list[str]:
        """End of the text: return the texts of the tokens still held."""
        return self._release(len(self._held))

    def _num_complete(self) -> int:
        """Count the leading held tokens whose characters are complete; only the last one's may not be."""
        is_incomplete = bool(self._decoder.getstate()[0])
        return len(self._held) - is_incomplete

    def _num_safe(self, held: str) -> int:
        """Count the leading held tokens that end before any place where a stop text may begin."""
        begin = len(held)
        for at in range(max(0, len(held) - self._longest + 1), len(held)):
            if any(stop.startswith(held[at:]) for stop in self._stops):
                begin = at
                break
        safe = length = 0
        for text in self._held:
            length += len(text)
            if length > begin:
                break
            safe += 1
        return safe

    def _cut(self, at: int) -> None:
        left = at
        for index, text in enumerate(self._held):
            self._held[index] = text[:left]
            left = max(0, left - len(text))

    def _release(self, count: int) -> list[str]:
        released, self._held = self._held[:count], self._held[count:]
        return released


def unfinished(raw: bytes) -> bytes:
    """Return the bytes of the character that ``raw`` ends inside of."""
    decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
    decoder.decode(raw)
    return decoder.getstate()[0]


class Emitter:
    """Holds events back until the text of the tokens before them is known.

    A token's text may wait for the next token: for the rest of a character, or to see whether a stop text begins. Its
    bytes come first, by `push`, because a stop text decides what is committed; the event may follow later.
    """

    def __init__(self, stops: tuple[str, ...], begun: bytes = b"") -> None:
        self._stream = TextStream(stops, begun)
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
