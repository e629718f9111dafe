"""Which tokens lie in which slot of the KV cache, and who may be given up: bookkeeping without a model.

Cells are modelled one by one and shared by reference, as `llama_memory_seq_cp` shares them in a unified cache,
so that the number of free cells is exact.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable, Mapping

from exsa_lab.engine.caches.checkpoints import Checkpoint, Checkpoints
from exsa_lab.engine.caches.operations import Operation, Restore, Save, Share, Truncate
from exsa_lab.engine.caches.prefixes import PrefixFinder, PrefixSource
from exsa_lab.engine.caches.sharing import link, unlink
from exsa_lab.engine.caches.slot import Slot
from exsa_lab.engine.stats import SlotUse
from exsa_lab.runtime.protocol import UNLIMITED, Window


class SlotTable:
    """Slots, their tokens and their cells. Owned by the engine thread.

    A slot is free (no tokens), held by a sequence (``max_held`` at most), or cached: its sequence is over and its
    cells wait for a prompt that begins alike. Cached cells count as free, since they are given up when needed; least
    recently used first.

    Beyond the newest one, cached slots are kept only up to ``max_cached`` cells in all, since unused cells make every
    decode a little slower. But cells are given up while nobody runs, if that can be: llama.cpp gives a freed cell to
    whoever needs one next, so in the midst of others' work their cells would no longer lie in the order of their
    tokens, attention would add them up in another order, and near ties between two tokens might fall otherwise than
    they do alone. (2,000 unused cells make a step of the default target 5 % slower.) Lasting slots, those of
    conversations that will go on, are kept beside these until there is no room. With ``max_cached`` 0 nothing but
    these is kept, nor shared while its cells are still there.

    Recurrent memory (``max_rollback`` limited) keeps one state for all tokens of a slot. It can be taken back by
    ``max_rollback`` of the tokens of the last decode, once, and be shared only as a whole. A prompt then goes on where
    a slot ends, or where a checkpoint of ``checkpoints`` stands; unless these ``need_no_cells``, some slot must hold
    the checkpoint's tokens beside it.

    The draft's cache has the first tokens of the same slots, ``num_drafted``. Where it is recurrent, what it has of a
    slot cannot be cut.

    Where there is a ``window``, a beginning is shared if all that its next token looks back at is still there.

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
        max_rollback: int = UNLIMITED,
        checkpoints: Checkpoints | None = None,
        need_no_cells: bool = False,
        window: Window | None = None,
        is_draft_recurrent: bool = False,
    ) -> None:
        self.n_cells = n_cells
        self.max_rollback = max_rollback
        self.checkpoints = Checkpoints(0) if checkpoints is None else checkpoints
        self._window = window
        self._is_draft_recurrent = is_draft_recurrent
        self._slots = [Slot() for _ in range(n_slots)]
        self._prefixes = PrefixFinder(
            self._slots,
            self.checkpoints,
            window,
            is_limited=self._is_limited,
            shares_idle=max_cached > 0,
            need_no_cells=need_no_cells,
        )
        self._references: Counter[int] = Counter()
        self._next_cell = itertools.count()
        self._clock = itertools.count(1)
        self._max_held = n_slots if max_held is None else max_held
        self._max_cached = max_cached
        self._fast_cells = fast_cells
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
        """How many leading tokens of a slot the draft's cache holds too."""
        return self._slots[index].num_drafted

    def uses(self, holders: Mapping[int, int]) -> list[SlotUse]:
        """Return what each slot that is not empty holds; ``holders`` are the generations that run, by their slot."""
        slots = [(index, slot) for index, slot in enumerate(self._slots) if slot.cells]
        return [SlotUse(i, holders.get(i, 0), len(at.cells), at.shared, at.same_as or 0) for i, at in slots]

    # Taking and giving back

    def num_new_cells(self, tokens: list[int], reusable: list[int] | None = None) -> int:
        """Return how many available cells a new sequence would take: all but those a running one already holds.

        ``reusable`` are the first of the tokens, where not all but the last may be taken from the cache, and one more.
        """
        source = self._prefixes.find(tokens if reusable is None else reusable)
        is_held = source.slot is not None and self._slots[source.slot].is_held
        return len(tokens) - (source.length if is_held else 0)

    def num_uncached(self, tokens: list[int], reusable: list[int] | None = None) -> int:
        """Return how many of the tokens a new sequence would have to compute; at least 1."""
        return len(tokens) - self._prefixes.find(tokens if reusable is None else reusable).length

    def acquire(self, tokens: list[int], reusable: list[int] | None = None) -> int:
        """Hold a slot for a new sequence, with the longest prefix of ``tokens`` that is cached already in it.

        The last token is never taken from the cache, since its logits are needed. Returns the slot; raises
        LookupError when every slot is held.
        """
        if not self.has_empty_slot():
            self._shrink()
        source = self._prefixes.find(tokens if reusable is None else reusable)
        if self._is_limited and not source.checkpoint and source.slot is not None and self._is_idle(source.slot):
            index = source.slot  # it goes on where it ends
        else:
            index = self._free_slot(avoid=source.slot)
        self._fill(index, source, tokens)
        slot = self._slots[index]
        slot.is_held, slot.is_lasting, slot.last_used = True, False, next(self._clock)
        self._recount()
        return index

    def release(self, index: int, *, keep: bool, lasting: bool = False) -> None:
        """Give a slot back; with ``keep`` its cells stay as prefix cache, and are the last to go where ``lasting``."""
        slot = self._slots[index]
        slot.is_held, slot.last_used = False, next(self._clock)
        if lasting:
            self._make_lasting(slot)
        if not keep:
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
        if self._is_limited or len(tokens) > self._fast_cells:
            return
        source = self._prefixes.find(tokens)
        if self.num_cells_used <= source.length:
            return
        for index, slot in enumerate(self._slots):
            if slot.tokens and not slot.is_lasting:
                self.truncate(index, source.length if index == source.slot else 0)
        self._recount()

    def clear_cached(self) -> None:
        """Give up every cached slot."""
        for index in self._cached():
            self._give_up(index)

    def _shrink(self) -> None:
        """Give up the oldest cached slots until they are few enough, the newest excepted where any are to be kept."""
        kept = {cell for slot in self._slots if slot.is_held or slot.is_lasting for cell in slot.cells}
        passing = [index for index in self._cached() if not self._slots[index].is_lasting]
        for index in passing if not self._max_cached else passing[:-1]:
            if len(self._references) - len(kept) <= self._max_cached:
                return
            self._give_up(index)

    def _make_lasting(self, slot: Slot) -> None:
        """It takes the place of those whose tokens it begins with."""
        for other in self._slots:
            if other.is_lasting and other.tokens == slot.tokens[: len(other.tokens)]:
                other.is_lasting = False
        slot.is_lasting = True

    # Contents

    def extend(self, index: int, tokens: list[int]) -> None:
        """Tokens were computed at the end of a slot."""
        slot = self._slots[index]
        slot.tokens.extend(tokens)
        for _ in tokens:
            cell = next(self._next_cell)
            slot.cells.append(cell)
            self._references[cell] = 1
        self._stand(slot, min(self.max_rollback, len(tokens) - 1))

    def truncate(self, index: int, length: int) -> None:
        """Roll a slot back to its first ``length`` tokens, or to the last place before them that it can go back to."""
        slot = self._slots[index]
        num_removed = len(slot.tokens) - length
        if num_removed <= 0 and slot.num_drafted <= length:
            return
        if length and num_removed > slot.can_take_back:
            self._restore_own(index, length)
            return
        self._cut(index, length)
        if num_removed > 0:
            self._stand(slot, 0, is_pending=length > 0)
        self._operations.append(Truncate(index, length))

    def save(self, index: int) -> None:
        """Keep a checkpoint of a slot as it stands."""
        if checkpoint := self.checkpoints.add(self._slots[index].tokens):
            self._operations.append(Save(index, checkpoint))

    def lose(self, index: int | None = None) -> None:
        """What the target holds of a slot, or of all, is undefined; where memory is recurrent it is always all."""
        for operation in self._operations:
            if isinstance(operation, Save):
                self.checkpoints.fill(operation.checkpoint, None)
        self._operations = [each for each in self._operations if not isinstance(each, Save)]
        for each in range(len(self._slots)) if self._is_limited or index is None else [index]:
            self._cut(each, 0)
            self._stand(self._slots[each], 0)
            self._operations.append(Truncate(each, 0))
        self._recount()

    def roll_back(self, index: int) -> None:
        """A step failed: whatever the caches hold beyond the slot's tokens is stale."""
        slot = self._slots[index]
        slot.num_drafted = self._drafted_of(slot, len(slot.tokens))
        self._operations.append(Truncate(index, len(slot.tokens)))

    def set_drafted(self, index: int, length: int) -> None:
        """The draft's cache holds the first ``length`` positions of the slot."""
        self._slots[index].num_drafted = length

    def look(self, first_whole: Callable[[int], int]) -> None:
        """See what layers with a sliding window still have of each slot; what they lost is not shared."""
        for index, slot in enumerate(self._slots):
            slot.first_whole = first_whole(index) if slot.tokens else 0

    # Internals

    @property
    def _is_limited(self) -> bool:
        return self.max_rollback != UNLIMITED

    def _is_idle(self, index: int) -> bool:
        return not self._slots[index].is_held

    def _fill(self, index: int, source: PrefixSource, tokens: list[int]) -> None:
        """Give an idle slot the beginning of a prompt."""
        checkpoint = source.checkpoint
        if index != source.slot:
            self.truncate(index, 0)
            if source.slot is not None:
                self._share(source.slot, index, source.length)
            elif checkpoint is not None:
                self.extend(index, tokens[: checkpoint.length])
        if checkpoint is not None:
            self._restore(index, checkpoint)
        elif index == source.slot or source.slot is None:
            self.truncate(index, source.length)

    def _restore(self, index: int, checkpoint: Checkpoint) -> None:
        self.checkpoints.touch(checkpoint)
        self._cut(index, checkpoint.length)
        self._stand(self._slots[index], 0)
        self._operations.append(Restore(index, checkpoint))

    def _restore_own(self, index: int, length: int) -> None:
        """Take a slot back to its last checkpoint within ``length`` tokens.

        Clear it where there is none, or a window, which may not be whole there.
        """
        tokens = self._slots[index].tokens
        for checkpoint in self.checkpoints.prefixes(tokens, most=length) if self._window is None else ():
            return self._restore(index, checkpoint)
        return self.truncate(index, 0)

    def _stand(self, slot: Slot, can_take_back: int, *, is_pending: bool = False) -> None:
        """Note how a slot's state came about, where that matters."""
        if self._is_limited:
            slot.can_take_back, slot.is_pending = can_take_back, is_pending

    def _cut(self, index: int, length: int) -> None:
        slot = self._slots[index]
        slot.is_lasting = slot.is_lasting and length > 0
        for cell in slot.cells[length:]:
            self._references[cell] -= 1
            if not self._references[cell]:
                del self._references[cell]
        if length < len(slot.cells) and slot.cells[length] in self._references:  # others still have it
            unlink(self._slots, index, length)
        del slot.tokens[length:], slot.cells[length:]
        slot.num_drafted = self._drafted_of(slot, length)

    def _drafted_of(self, slot: Slot, length: int) -> int:
        """How many of the first ``length`` tokens the draft's cache has of them alone; a recurrent one all or none."""
        return 0 if self._is_draft_recurrent and slot.num_drafted > length else min(slot.num_drafted, length)

    def _free_slot(self, avoid: int | None) -> int:
        idle = [index for index, slot in enumerate(self._slots) if not slot.is_held]
        if not idle:
            raise LookupError("every slot is held")
        # Empty slots first, then the one that may go first; the donor itself only as a last resort.
        return min(idle, key=lambda i: (i == avoid, bool(self._slots[i].tokens), *self._worth(i)))

    def _cached(self) -> list[int]:
        """The cached slots, those that may go first at the head: least recently used, lasting ones behind."""
        cached = [i for i, slot in enumerate(self._slots) if slot.tokens and not slot.is_held]
        return sorted(cached, key=self._worth)

    def _worth(self, index: int) -> tuple[bool, int]:
        return self._slots[index].is_lasting, self._slots[index].last_used

    def _recount(self) -> None:
        held = {cell for slot in self._slots if slot.is_held for cell in slot.cells}
        self._num_cells_cached = len(self._references) - len(held)

    def _share(self, source: int, target: int, length: int) -> None:
        donor, slot = self._slots[source], self._slots[target]
        donor.last_used = next(self._clock)
        slot.tokens, slot.cells = donor.tokens[:length], donor.cells[:length]
        slot.num_drafted, slot.first_whole = self._drafted_of(donor, length), donor.first_whole
        self._stand(slot, 0)
        self._references.update(slot.cells)
        link(self._slots, source, target, len(slot.cells))
        self._operations.append(Share(source, target, length, slot.num_drafted))

    def _give_up(self, index: int) -> None:
        self.truncate(index, 0)
        self._recount()
