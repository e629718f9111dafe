"""Saved states of recurrent and hybrid memory: where a prompt that begins alike can go on.

Attention keeps a cell for each token, so any prefix of a slot can be shared. A recurrent layer keeps one state for all
tokens read so far, which exists only at the end of what was read. So prompts are read up to certain places, and a copy
of the state there is kept in main memory.
"""

from __future__ import annotations

import bisect
import itertools
from array import array
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from exsa_lab.runtime.protocol import State

EVERY = 512
"""Tokens of a prompt after which a state is kept, wherever they end."""
LEAST = 64
"""Tokens that are worth a state: fewer are read again as quickly."""
TAIL = (256, 128, 64, 32)
"""Tokens before the end of a prompt: where a question follows a document, the next one parts from it there."""
ROOM = 64
"""States that the budget must hold for those of the tail: those of several prompts."""
_TOKEN_BYTES = array("i").itemsize


@dataclass(slots=True, eq=False)
class Checkpoint:
    """The state after some tokens; ``state`` is None until it was copied."""

    packed_tokens: bytes
    """See `packed`."""
    state: State | None = None
    last_used: int = 0

    @property
    def length(self) -> int:
        return len(self.packed_tokens) // _TOKEN_BYTES

    @property
    def num_bytes(self) -> int:
        return len(self.packed_tokens) + (0 if self.state is None else self.state.nbytes)


class Checkpoints:
    """Checkpoints within a budget of bytes, the least recently used out first. Owned by the engine thread."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._kept: list[Checkpoint] = []
        self._clock = itertools.count(1)
        self._most_bytes = 0  # of one state so far

    def __len__(self) -> int:
        return len(self._kept)

    @property
    def num_bytes(self) -> int:
        return sum(checkpoint.num_bytes for checkpoint in self._kept)

    @property
    def are_kept(self) -> bool:
        """Whether there is any room at all; else no prompt need be read in parts for them."""
        return self._max_bytes > 0

    @property
    def have_room(self) -> bool:
        """Whether states are small enough to keep some that may never be used."""
        return ROOM * self._most_bytes <= self._max_bytes

    def add(self, tokens: list[int]) -> Checkpoint | None:
        """Return a new checkpoint whose state is to be filled in; None where there is one of these tokens."""
        packed_tokens = packed(tokens)
        for checkpoint in self._kept:
            if checkpoint.packed_tokens == packed_tokens:
                self.touch(checkpoint)
                return None
        checkpoint = Checkpoint(packed_tokens, last_used=next(self._clock))
        self._kept.append(checkpoint)
        return checkpoint

    def fill(self, checkpoint: Checkpoint, state: State | None) -> None:
        """Keep the state of a checkpoint, and give up the least recently used ones beyond the budget.

        Without a state the checkpoint itself is given up: its state could not be had.
        """
        if checkpoint not in self._kept:  # others of the same step took its room
            return
        if state is None:
            self._kept.remove(checkpoint)
            return
        checkpoint.state = state
        self._most_bytes = max(self._most_bytes, checkpoint.num_bytes)
        excess = self.num_bytes - self._max_bytes
        for oldest in sorted(self._kept, key=lambda each: each.last_used):
            if excess <= 0:
                return
            excess -= oldest.num_bytes
            self._kept.remove(oldest)

    def touch(self, checkpoint: Checkpoint) -> None:
        checkpoint.last_used = next(self._clock)

    def forget(self) -> None:
        """Give up all of them."""
        self._kept.clear()

    def prefixes(self, tokens: list[int], *, most: int) -> list[Checkpoint]:
        """Return the filled checkpoints of at most ``most`` tokens with which ``tokens`` begin, the longest first."""
        if not self._kept:
            return []
        beginning = packed(tokens[:most])
        found = [each for each in self._kept if each.state is not None and beginning.startswith(each.packed_tokens)]
        return sorted(found, key=lambda each: -each.length)


def packed(tokens: list[int]) -> bytes:
    """Tokens as checkpoints keep them: Python's own integers, in a list, take up to 36 bytes each."""
    return array("i", tokens).tobytes()


def checkpoint_places(prompt: Sequence[int], is_end: Callable[[int], bool], *, with_tail: bool = False) -> list[int]:
    """Return after how many tokens of a prompt states are worth keeping, in order.

    After each message that ends with an end token, after every `EVERY` tokens, and before the last token: that one is
    always read, for its logits. No place is less than `LEAST` tokens after the one before, but for the last, which the
    same prompt would need. ``with_tail`` adds places at the distances `TAIL` from the end, ever closer to it: a prompt
    that parts from this one near its end then reads at most twice as many tokens again.

    Example:
        >>> checkpoint_places(range(100, 400), lambda token: token == 200)
        [101, 299]
    """
    last = len(prompt) - 1
    places: list[int] = []
    for place in range(LEAST, last):
        since = place - (places[-1] if places else 0)
        if since >= EVERY or (since >= LEAST and is_end(prompt[place - 1])):
            places.append(place)
    for place in (last - distance for distance in TAIL) if with_tail else ():
        # The end of a message is worth more than a place close to it. A place of every so many tokens takes none away.
        near = [other for other in places if abs(place - other) < TAIL[-1] and is_end(prompt[other - 1])]
        if place >= LEAST and place not in places and not near:
            bisect.insort(places, place)
    if last >= LEAST:
        places.append(last)
    return places
