"""What an engine has seen: its finished texts, indexed by what stands before each token.

People run a cell again, change a word of a prompt, or extract by one template from many rows: the answer then repeats
another request's text rather than its own prompt. `NgramIndex` looks here beside its own tokens. Suffixes found in
earlier outputs are what SuffixDecoding proposes (arXiv 2411.04975).
"""

from __future__ import annotations

import mmap
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from operator import attrgetter
from typing import Any

import numpy as np
from numpy.typing import NDArray

KEY = 3
"""Tokens that must agree at least. Among all that was seen, two are a coincidence."""
LONG_KEY = 32
"""Tokens looked for where the newest places with the same `KEY` tokens are not all: those of the rows of a template are
seldom of the right row."""
MAX_CANDIDATES = 16
"""Places looked at: the newest."""
MAX_MATCH = 64
"""Longest match length told apart."""
MAX_TOKENS = 1 << 20
TOKEN_BYTES = 48
"""Memory of one token at most: itself, its places in two chains, its share of the texts and what they begin with. 36
are reserved at once; the system gives main memory where something is written."""
LEAST_TEXT = 64
"""Tokens that a text counts for at least where the number of texts is limited."""
MAX_TEXTS = MAX_TOKENS // LEAST_TEXT
_BOUNDARY = -1
"""Stands after each text: no match reaches across it."""
_FACTOR = 0x9E3779B97F4A7C15
"""2^64 divided by the golden ratio (Knuth, The Art of Computer Programming 3, 6.4)."""
_BITS_64 = (1 << 64) - 1


@dataclass(slots=True)
class _Text:
    """Where a text ends, and whose it is."""

    end: int
    owner: int
    blocks: tuple[int, ...]
    """Its numbers in `TextHistory._blocks`."""


class TextHistory:
    """The newest tokens of finished texts, at most ``max_tokens``. Owned by the engine thread.

    All texts lie one after the other in a ring, so that a new token takes the place of the oldest; a text that comes
    again keeps its place. Two tables of hashes
    lead to the newest place that follows the same `KEY` tokens, or the same `LONG_KEY`, and from each place to the one
    before it, as in zlib. So looking up takes constant time, and adding a text takes time in proportion to its length.
    Places are counted from the first token ever added, beginning with 1.

    Where a text begins as an earlier one does (the turns of a chat, the rows of a long template), the common beginning
    is not kept twice.

    Example:
        >>> history = TextHistory()
        >>> history.add([1, 2, 3, 4, 5], owner=7)
        >>> place, length = history.find([9, 1, 2, 3])
        >>> length, history.following(place, 2), history.owner(place)
        (3, [4, 5], 7)
    """

    def __init__(self, max_tokens: int = MAX_TOKENS) -> None:
        """``max_tokens`` is a power of two."""
        self._size = max_tokens
        self._end = 1
        """The place of the next token."""
        self._clear()

    def _clear(self) -> None:
        self._ring: NDArray[np.int32] = _zeros(self._size, np.int32)
        self._tokens = self._ring.data  # single tokens are read faster than from the array
        self._chain, self._long_chain = _Chain(KEY, self._size), _Chain(LONG_KEY, self._size)
        self._texts: list[_Text] = []
        self._blocks: dict[int, _Text] = {}
        """How the texts begin: a number for each `MAX_MATCH` tokens and all before them, and the text that has them."""
        self._base = self._end
        """The place of the first token that is kept."""

    def __len__(self) -> int:
        """Tokens kept."""
        return self._end - self._base

    @property
    def num_texts(self) -> int:
        return len(self._texts)

    def add(self, tokens: Sequence[int], owner: int) -> None:
        """Keep the part of a text that is not kept yet. Of a text that is kept already, note the new owner."""
        blocks = tuple(_blocks(tokens))
        num_known = next((i for i, block in enumerate(blocks) if block not in self._blocks), len(blocks))
        if num_known == len(blocks):
            self._own_anew(blocks, owner)
            return
        # One known block goes before what is new, so that a match there can reach `MAX_MATCH` tokens back.
        start = max(0, (num_known - 1) * MAX_MATCH, len(tokens) + 1 - self._size)
        added = np.array([*tokens[start:], _BOUNDARY], np.int32)
        if len(added) - 1 <= KEY:
            return
        places = np.arange(self._end, self._end + len(added))
        self._ring[places % self._size] = added
        self._end += len(added)
        for chain in (self._chain, self._long_chain):
            chain.add(added[:-1], places[:-1])
        text = _Text(self._end, owner, blocks[num_known:])
        self._texts.append(text)
        self._blocks.update(dict.fromkeys(text.blocks, text))
        self._drop_oldest()

    def forget(self) -> None:
        """Drop everything."""
        self._clear()

    def find(self, text: Sequence[int]) -> tuple[int, int]:
        """Return the place that follows the longest match with the end of ``text``, and its length; (0, 0) for none.

        Of several with the same length it is the newest.
        """
        tail = list(text[-MAX_MATCH:])
        best, longest, are_all = self._longest(self._chain, tail)
        if not are_all and longest < len(tail):
            other, length, _ = self._longest(self._long_chain, tail)
            if length > longest:
                best, longest = other, length
        return (best, longest) if longest >= KEY else (0, 0)

    def match_length(self, place: int, text: Sequence[int]) -> int:
        """Return how many tokens before a place equal the end of ``text``; 0 where nothing is kept there."""
        return self._match_length(place, list(text[-MAX_MATCH:])) if self.holds(place) else 0

    def holds(self, place: int) -> bool:
        """Whether a token is kept at this place."""
        return self._base <= place < self._end and self._tokens[place % self._size] != _BOUNDARY

    def following(self, place: int, count: int) -> list[int]:
        """Return up to ``count`` tokens from a place on, to the end of its text."""
        tokens = self._slice(place, min(place + count, self._end))
        return tokens[: tokens.index(_BOUNDARY)] if _BOUNDARY in tokens else tokens

    def owner(self, place: int) -> int | None:
        """Return whose text a place belongs to."""
        index = bisect_right(self._texts, place, key=attrgetter("end"))
        return self._texts[index].owner if self._base <= place < self._end else None

    def _own_anew(self, blocks: tuple[int, ...], owner: int) -> None:
        text = self._blocks[blocks[-1]] if blocks else None
        if text is not None and text.blocks[-1] == blocks[-1]:  # else only a longer text has it
            text.owner = owner

    def _drop_oldest(self) -> None:
        """Drop the texts of which something was overwritten, and what is too many."""
        first = self._end - self._size
        num = 1 + bisect_left(self._texts, first, key=attrgetter("end")) if self._base < first else 0
        num = max(num, len(self._texts) - self._size // LEAST_TEXT)
        if num <= 0:
            return
        self._base = self._texts[num - 1].end
        for text in self._texts[:num]:
            for block in text.blocks:
                if self._blocks.get(block) is text:  # else a newer one has it, too
                    del self._blocks[block]
        del self._texts[:num]

    def _longest(self, chain: _Chain, tail: list[int]) -> tuple[int, int, bool]:
        """The place of the longest match among the newest, its length, and whether no older places were left out."""
        best = longest = 0
        place = chain.newest(tail) if len(tail) >= chain.length else 0
        for _ in range(MAX_CANDIDATES):
            if place <= self._base:  # none, or one that was dropped
                return best, longest, True
            # Only a longer match is of interest: look first at the token that would make it longer.
            if self._tokens[(place - 1 - longest) % self._size] == tail[-1 - longest]:
                length = self._match_length(place, tail)
                if length > longest:
                    best, longest = place, length
                    if length == len(tail):
                        break
            place = chain.before(place)
        return best, longest, place <= self._base

    def _match_length(self, place: int, tail: list[int]) -> int:
        longest = min(place - self._base, len(tail))
        before = self._slice(place - longest, place)
        if before == tail[len(tail) - longest :]:
            return longest
        length = 0
        while before[-1 - length] == tail[-1 - length]:
            length += 1
        return length

    def _slice(self, start: int, end: int) -> list[int]:
        """Tokens from one place to another, less than the ring has."""
        first, last = start % self._size, end % self._size
        if first <= last:
            return self._tokens[first:last].tolist()
        return self._tokens[first:].tolist() + self._tokens[:last].tolist()


class _Chain:
    """Links from the last tokens of a text to the newest place that follows them, and from each place to one before.

    Hashes collide, and overwritten places are still found: the caller compares the tokens.
    """

    def __init__(self, length: int, size: int) -> None:
        self.length = length
        self._size = size
        self._shift = 64 - (size.bit_length() - 1)
        self._newest: NDArray[np.int64] = _zeros(size, np.int64)
        self._previous: NDArray[np.int64] = _zeros(size, np.int64)
        self._newest_of, self._previous_of = self._newest.data, self._previous.data  # as `TextHistory._tokens`

    def add(self, tokens: NDArray[np.int32], places: NDArray[np.int64]) -> None:
        """Index a text that lies at these places."""
        if len(tokens) <= self.length:
            return
        keys, places = self._keys(tokens), places[self.length :]
        order = np.argsort(keys, kind="stable")
        keys, places = keys[order], places[order]
        is_other = keys[1:] != keys[:-1]
        is_first, is_last = np.append(True, is_other), np.append(is_other, True)
        before = np.append(0, places[:-1])
        self._previous[places % self._size] = np.where(is_first, self._newest[keys], before)
        self._newest[keys[is_last]] = places[is_last]

    def newest(self, text: Sequence[int]) -> int:
        """Return the newest place that follows the end of ``text``, 0 for none."""
        key = 0
        for token in text[-self.length :]:
            key = (key + token + 1) * _FACTOR & _BITS_64
        return self._newest_of[key >> self._shift]

    def before(self, place: int) -> int:
        return self._previous_of[place % self._size]

    def _keys(self, tokens: NDArray[np.int32]) -> NDArray[np.uint64]:
        """Of the tokens before each but the first `length`: as `newest` counts."""
        num, wide = len(tokens) - self.length, tokens.astype(np.uint64) + np.uint64(1)
        keys = np.zeros(num, np.uint64)
        for first in range(self.length):
            keys = (keys + wide[first : first + num]) * np.uint64(_FACTOR)
        return keys >> np.uint64(self._shift)


def _zeros(size: int, dtype: type) -> NDArray[Any]:
    """Zeros that take main memory where they are written, and give it back once they are dropped.

    After such a block was freed, malloc takes the next ones from the heap, which keeps them.
    """
    return np.frombuffer(mmap.mmap(-1, size * np.dtype(dtype).itemsize), dtype)


def _blocks(tokens: Sequence[int]) -> Iterator[int]:
    """Yield a hash for each `MAX_MATCH` tokens of a text: of these and all before; the last is of the whole text."""
    block = 0
    for start in range(0, len(tokens), MAX_MATCH):
        block = hash((block, *tokens[start : start + MAX_MATCH]))
        yield block
