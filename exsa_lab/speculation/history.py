"""What an engine has seen: its finished texts, indexed by what stands before each token.

People run a cell again, change a word of a prompt, or extract by one template from many rows: the answer then repeats
another request's text rather than its own prompt. `NgramIndex` looks here beside its own tokens. Suffixes found in
earlier outputs are what SuffixDecoding proposes (arXiv 2411.04975).
"""

from __future__ import annotations

from array import array
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

KEY = 3
"""Tokens that must agree at least. Among all that was seen, two are a coincidence."""
MAX_CANDIDATES = 16
"""Places looked at: the newest."""
MAX_MATCH = 64
"""Longest match length told apart."""
MAX_BYTES = 64 << 20
TOKEN_BYTES = 160
"""Memory of one token with its place in the index, measured with room to spare."""
_BITS = 21
_BOUNDARY = -1
"""Stands between texts: no match reaches across it."""


@dataclass(frozen=True, slots=True)
class _Text:
    """Where a text lies, and whose it is."""

    start: int
    end: int
    owner: int
    fingerprint: int


class TextHistory:
    """Finished texts within a limit of memory, the oldest out. Owned by the engine thread.

    All texts lie one after the other. Each place has a link to the place before it with the same `KEY` tokens, as in
    zlib's hash chains, so that adding a token and looking one up take constant time. Places are counted from the first
    token ever added.

    Example:
        >>> history = TextHistory()
        >>> history.add([1, 2, 3, 4, 5], owner=7)
        >>> place, length = history.find([9, 1, 2, 3])
        >>> length, history.following(place, 2), history.owner(place)
        (3, [4, 5], 7)
    """

    def __init__(self, max_bytes: int = MAX_BYTES) -> None:
        self._most = max_bytes // TOKEN_BYTES
        self._tokens = array("i")
        self._previous = array("q")
        """By place: the place before it that follows the same tokens, 0 for none."""
        self._last: dict[int, int] = {}
        """By key: the newest place that follows it."""
        self._base = 0
        """The place of the first token that is kept."""
        self._texts: deque[_Text] = deque()
        self._fingerprints: set[int] = set()
        self.version = 0
        """Changes whenever a place may mean something else."""

    def __len__(self) -> int:
        """Tokens kept."""
        return len(self._tokens)

    @property
    def num_texts(self) -> int:
        return len(self._texts)

    def add(self, tokens: Sequence[int], owner: int) -> None:
        """Keep a text; one that is there already, or alone would not fit, is not kept."""
        fingerprint = hash(tuple(tokens))
        if len(tokens) <= KEY or len(tokens) >= self._most or fingerprint in self._fingerprints:
            return
        while self._texts and len(self._tokens) + len(tokens) + 1 > self._most:
            self._drop_oldest()
        start = self._base + len(self._tokens)
        for index, token in enumerate(tokens):
            self._append(token, _key(tokens, index) if index >= KEY else None)
        self._append(_BOUNDARY, None)
        self._texts.append(_Text(start, start + len(tokens) + 1, owner, fingerprint))
        self._fingerprints.add(fingerprint)
        self.version += 1

    def forget(self) -> None:
        """Drop everything."""
        self._base += len(self._tokens)
        del self._tokens[:], self._previous[:]
        self._last.clear()
        self._texts.clear()
        self._fingerprints.clear()
        self.version += 1

    def find(self, text: Sequence[int]) -> tuple[int, int]:
        """Return the place that follows the longest match with the end of ``text``, and its length; (0, 0) for none.

        Of several with the same length it is the newest.
        """
        place = self._last.get(_key(text, len(text)), 0) if len(text) >= KEY else 0
        best = longest = 0
        if place <= self._base:
            return best, longest
        tail = list(text[-MAX_MATCH:])
        for _ in range(MAX_CANDIDATES):
            if place <= self._base:  # none, or one that was dropped
                break
            length = self._match_length(place - self._base, tail)
            if length > longest:
                best, longest = place, length
                if length == len(tail):
                    break
            place = self._previous[place - self._base]
        return best, longest

    def following(self, place: int, count: int) -> list[int]:
        """Return up to ``count`` tokens from a place on, to the end of its text."""
        index = place - self._base
        tokens = self._tokens[index : index + count].tolist()
        return tokens[: tokens.index(_BOUNDARY)] if _BOUNDARY in tokens else tokens

    def owner(self, place: int) -> int | None:
        """Return whose text a place belongs to."""
        return next((text.owner for text in reversed(self._texts) if text.start <= place < text.end), None)

    def _append(self, token: int, key: int | None) -> None:
        place = self._base + len(self._tokens)
        self._tokens.append(token)
        self._previous.append(0 if key is None else self._last.get(key, 0))
        if key is not None:
            self._last[key] = place

    def _drop_oldest(self) -> None:
        text = self._texts.popleft()
        self._fingerprints.discard(text.fingerprint)
        size = text.end - text.start
        tokens = self._tokens[:size].tolist()
        for index in range(KEY, size - 1):
            key = _key(tokens, index)
            if self._last.get(key) == text.start + index:
                del self._last[key]
        del self._tokens[:size], self._previous[:size]
        self._base = text.end

    def _match_length(self, index: int, tail: list[int]) -> int:
        """Tokens before an index that equal the end of ``tail``."""
        longest = min(index, len(tail))
        before = self._tokens[index - longest : index].tolist()
        if before == tail[len(tail) - longest :]:
            return longest
        length = 0
        while before[-1 - length] == tail[-1 - length]:
            length += 1
        return length


def _key(tokens: Sequence[int], end: int) -> int:
    """The `KEY` tokens before an index as one number."""
    key = 0
    for token in tokens[end - KEY : end]:
        key = key << _BITS | token
    return key
