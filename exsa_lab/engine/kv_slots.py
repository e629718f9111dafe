"""Which tokens lie in which slot of the KV cache, and who may be given up: bookkeeping without a model.

Cells are modelled one by one and shared by reference, as `llama_memory_seq_cp` shares them in a unified cache,
so that the number of free cells is exact.
"""

from __future__ import annotations

import itertools
from collections import Counter
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Truncate:
    """Drop the positions of ``slot`` from ``length`` on, in target and draft; length 0 clears it."""

    slot: int
    length: int


@dataclass(frozen=True, slots=True)
class Share:
    """Share the first ``length`` positions of slot ``source`` with the empty slot ``target``.

    In the draft's cache it is the first ``draft_length``.
    """

    source: int
    target: int
    length: int
    draft_length: int


Operation = Truncate | Share


@dataclass(slots=True)
class _Slot:
    tokens: list[int] = field(default_factory=list)
    cells: list[int] = field(default_factory=list)
    num_drafted: int = 0
    is_held: bool = False
    last_used: int = 0


class SlotTable:
    """Slots, their tokens and their cells. Owned by the engine thread.

    A slot is free (no tokens), held by a sequence (``max_held`` at most), or cached: its sequence is over and its
    cells wait for a prompt that begins alike. Cached cells count as free, since they are given up when needed; least
    recently used first.

    Beyond the newest one, cached slots are kept only up to ``max_cached`` cells in all, since unused cells make every
    decode a little slower. But cells are given up while nobody runs, if that can be: llama.cpp gives a freed cell to
    whoever needs one next, so in the midst of others' work their cells would no longer lie in the order of their
    tokens, attention would add them up in another order, and near ties between two tokens might fall otherwise than
    they do alone. (2,000 unused cells make a step of the default target 5 % slower.)

    Decisions are recorded as operations, in order; the engine takes them and performs them on the real caches.
    """

    def __init__(
        self,
        n_slots: int,
        n_cells: int,
        *,
        max_cached: int,
        max_held: int | None = None,
        fast_cells: int = 0,
        can_share: bool = True,
    ) -> None:
        self.n_cells = n_cells
        self._slots = [_Slot() for _ in range(n_slots)]
        self._references: Counter[int] = Counter()
        self._next_cell = itertools.count()
        self._clock = itertools.count(1)
        self._max_held = n_slots if max_held is None else max_held
        self._max_cached = max_cached
        self._fast_cells = fast_cells
        self._can_share = can_share
        self._num_cells_cached = 0
        self._operations: list[Operation] = []

    def take_operations(self) -> list[Operation]:
        """Return what is to be done to the caches since the last call, in order."""
        operations, self._operations = self._operations, []
        return operations

    # Counting

    @property
    def num_held(self) -> int:
        return sum(slot.is_held for slot in self._slots)

    @property
    def num_cached(self) -> int:
        return sum(bool(slot.tokens) and not slot.is_held for slot in self._slots)

    @property
    def num_cells_used(self) -> int:
        return len(self._references)

    @property
    def num_cells_cached(self) -> int:
        """Cells that no running sequence needs."""
        return self._num_cells_cached

    @property
    def num_cells_unused(self) -> int:
        """Cells that hold nothing."""
        return self.n_cells - len(self._references)

    @property
    def num_free(self) -> int:
        """Slots that nobody runs in."""
        return self._max_held - self.num_held

    def has_slot(self) -> bool:
        """Whether one more sequence may run."""
        return self.num_free > 0

    def has_empty_slot(self) -> bool:
        """Whether a slot is left that holds nothing at all."""
        return any(not slot.tokens and not slot.is_held for slot in self._slots)

    @property
    def num_cells_available(self) -> int:
        """Cells that are unused or can be given up."""
        return self.num_cells_unused + self._num_cells_cached

    def tokens(self, index: int) -> list[int]:
        """The tokens whose cells lie in a slot, in order."""
        return self._slots[index].tokens

    def length(self, index: int) -> int:
        return len(self._slots[index].tokens)

    def num_drafted(self, index: int) -> int:
        """How many leading tokens of the slot the draft's cache holds too."""
        return self._slots[index].num_drafted

    # Taking and giving back

    def num_new_cells(self, tokens: list[int]) -> int:
        """Return how many available cells a new sequence would take: all but those a running one already holds."""
        donor, shared = self._best_donor(tokens)
        return len(tokens) - (shared if donor is not None and self._slots[donor].is_held else 0)

    def num_uncached(self, tokens: list[int]) -> int:
        """Return how many of the tokens a new sequence would have to compute; at least 1."""
        return len(tokens) - self._best_donor(tokens)[1]

    def acquire(self, tokens: list[int]) -> int:
        """Hold a slot for a new sequence, with the longest prefix of ``tokens`` that is cached already in it.

        The last token is never taken from the cache, since its logits are needed. Returns the slot; raises
        LookupError when every slot is held.
        """
        if not self.has_empty_slot():
            self._shrink()
        donor, shared = self._best_donor(tokens)
        index = self._free_slot(avoid=donor)
        if index == donor:
            self.truncate(index, shared)
        else:
            self.truncate(index, 0)
            if donor is not None:
                self._share(donor, index, shared)
        slot = self._slots[index]
        slot.is_held, slot.last_used = True, next(self._clock)
        self._recount()
        return index

    def release(self, index: int, *, keep: bool) -> None:
        """Give a slot back; with ``keep`` its cells stay as prefix cache."""
        slot = self._slots[index]
        slot.is_held, slot.last_used = False, next(self._clock)
        if not keep or not self._can_share:
            self.truncate(index, 0)
        self._recount()
        if not self.num_held:
            self._shrink()

    def make_room(self, num_cells: int) -> None:
        """Give up cached slots until ``num_cells`` are unused or no cached slot is left: all that are too many at once,
        so that it happens seldom."""
        if self.num_cells_used + num_cells <= self.n_cells:
            return
        self._shrink()
        for index in self._cached():
            if self.num_cells_used + num_cells <= self.n_cells:
                return
            self._give_up(index)

    def tidy(self, tokens: list[int]) -> None:
        """Nobody runs and ``tokens`` come next: where they are few, give up what would make their steps slower."""
        donor, shared = self._best_donor(tokens)
        if len(tokens) > self._fast_cells or self.num_cells_used <= shared:
            return
        for index, slot in enumerate(self._slots):
            if slot.tokens:
                self.truncate(index, shared if index == donor else 0)
        self._recount()

    def clear_cached(self) -> None:
        """Give up every cached slot."""
        for index in self._cached():
            self._give_up(index)

    def _shrink(self) -> None:
        """Give up the oldest cached slots until they are few enough, the newest excepted."""
        for index in self._cached()[:-1]:
            if self._num_cells_cached <= self._max_cached:
                return
            self._give_up(index)

    # Contents

    def extend(self, index: int, tokens: list[int]) -> None:
        """Tokens were computed at the end of a slot."""
        slot = self._slots[index]
        slot.tokens.extend(tokens)
        for _ in tokens:
            cell = next(self._next_cell)
            slot.cells.append(cell)
            self._references[cell] = 1

    def truncate(self, index: int, length: int) -> None:
        """Roll a slot back to its first ``length`` tokens."""
        slot = self._slots[index]
        if len(slot.tokens) <= length and slot.num_drafted <= length:
            return
        for cell in slot.cells[length:]:
            self._references[cell] -= 1
            if not self._references[cell]:
                del self._references[cell]
        del slot.tokens[length:], slot.cells[length:]
        slot.num_drafted = min(slot.num_drafted, length)
        self._operations.append(Truncate(index, length))

    def roll_back(self, index: int) -> None:
        """A step failed: whatever the caches hold beyond the slot's tokens is stale."""
        slot = self._slots[index]
        slot.num_drafted = min(slot.num_drafted, len(slot.tokens))
        self._operations.append(Truncate(index, len(slot.tokens)))

    def forget(self, index: int) -> None:
        """The target's cache of the slot was cleared (recurrent memory cannot go back to a position)."""
        self.truncate(index, 0)

    def set_drafted(self, index: int, length: int) -> None:
        """The draft's cache holds the first ``length`` positions of the slot."""
        self._slots[index].num_drafted = length

    # Internals

    def _best_donor(self, tokens: list[int]) -> tuple[int | None, int]:
        best, longest = None, 0
        if not self._can_share:
            return best, longest
        for index, slot in enumerate(self._slots):
            common = _common_prefix(slot.tokens, tokens, len(tokens) - 1)
            if common > longest:
                best, longest = index, common
        return best, longest

    def _free_slot(self, avoid: int | None) -> int:
        idle = [index for index, slot in enumerate(self._slots) if not slot.is_held]
        if not idle:
            raise LookupError("every slot is held")
        # Empty slots first, then the least recently used; the donor itself only as a last resort.
        return min(idle, key=lambda i: (i == avoid, bool(self._slots[i].tokens), self._slots[i].last_used))

    def _cached(self) -> list[int]:
        """The cached slots, least recently used first."""
        cached = [i for i, slot in enumerate(self._slots) if slot.tokens and not slot.is_held]
        return sorted(cached, key=lambda i: self._slots[i].last_used)

    def _recount(self) -> None:
        held = {cell for slot in self._slots if slot.is_held for cell in slot.cells}
        self._num_cells_cached = len(self._references) - len(held)

    def _share(self, source: int, target: int, length: int) -> None:
        donor, slot = self._slots[source], self._slots[target]
        donor.last_used = next(self._clock)
        slot.tokens, slot.cells = donor.tokens[:length], donor.cells[:length]
        slot.num_drafted = min(length, donor.num_drafted)
        self._references.update(slot.cells)
        self._operations.append(Share(source, target, length, slot.num_drafted))

    def _give_up(self, index: int) -> None:
        self.truncate(index, 0)
        self._recount()


def _common_prefix(cached: list[int], tokens: list[int], most: int) -> int:
    most = min(most, len(cached))
    if cached[:most] == tokens[:most]:
        return most
    return next(i for i in range(most) if cached[i] != tokens[i])
