"""From token bytes to text: incremental UTF-8, and stop texts that may span tokens."""

from __future__ import annotations

import codecs


class TextStream:
    """Turns the pieces of one generation into texts, one a token, and finds stop texts.

    A token's text is released once no stop text can begin in it any more. Bytes of an incomplete character
    count to the token that completes it; bytes that are not UTF-8 become U+FFFD.

    Example::

        stream = TextStream(stops=("END",))
        stream.push(b"a E")   # [] - "E" may become "END"
        stream.push(b"ND")    # ["a ", ""], and stream.stopped is True
    """

    def __init__(self, stops: tuple[str, ...] = ()) -> None:
        self.stopped = False
        self._stops = stops
        self._longest = max((len(stop) for stop in stops), default=0)
        self._decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
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
        if self._held and not self.stopped:
            self._held[-1] += self._decoder.decode(b"", final=True)
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
