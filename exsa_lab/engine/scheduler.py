"""Which sequences take part in the next step: pure policy over queues, counts and slots.

First come, first served. Every step, in this order:

1. decode: each running sequence whose prompt is computed gets its next token;
2. prefill: running sequences still inside their prompt get chunks, oldest first, from what is left of the budget;
3. admission: waiting sequences get a slot while slots, cells and budget last.

When cells run out, the youngest running sequence is preempted: its cells are given up and it waits at the front,
to be computed again from its prompt and the tokens it had. The oldest is never preempted, so something always
finishes and nothing starves.

With ``keep_order`` no cell is used again while other sequences decode. llama.cpp gives a freed cell to whoever needs
one next, so a sequence's cells would no longer lie in the order of its tokens, attention would add them up in another
order, and near ties between two tokens could fall otherwise than they do alone. Admission then waits until there is an
empty slot and room for all that a sequence and those running may still generate; when nobody runs, everything that
was kept is cleared.

``small_step`` is the most tokens of a step that sequences share while prompts are read, because llama.cpp rounds
otherwise in larger ones. While nobody decodes, a prompt that has more left is read in steps of its own, as it would
be alone.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from exsa_lab.config import MAX_DRAFT_LENGTH
from exsa_lab.engine.kv_slots import SlotTable
from exsa_lab.engine.sequence import Sequence
from exsa_lab.runtime.protocol import MIN_OUTPUTS

ShareForced = Callable[[list[int], int, int], list[int]]
"""Told how many certain tokens each of some sequences has, how many others decode one each, and the room for all of
theirs; returns how many each takes, one at least."""


def in_turn(wanted: list[int], room: int) -> list[int]:
    """Share ``room`` places: one for each, and the first ones take as many more as they want."""
    more, sizes = room - len(wanted), []
    for num in wanted:
        sizes.append(1 + min(num - 1, more))
        more -= sizes[-1] - 1
    return sizes


@dataclass(frozen=True, slots=True)
class Work:
    """One sequence's part of a step: compute its next ``num_tokens`` tokens."""

    sequence: Sequence
    num_tokens: int
    """One where it decodes, but for tokens that its text had to go on with, which come before it."""
    is_decode: bool
    """False for a prefill chunk."""
    has_output: bool
    """Whether it reaches the last token, so that the next one can be chosen."""


@dataclass(frozen=True, slots=True)
class Schedule:
    """What the next step does, and which sequences changed queues for it."""

    work: list[Work]
    admitted: list[Sequence]
    preempted: list[Sequence]


class Scheduler:
    """Two queues over one slot table. Owned by the engine thread.

    ``waiting`` is in order of arrival, preempted sequences first; ``running`` in order of admission.
    """

    def __init__(self, slots: SlotTable, *, step_tokens: int, small_step: int = 0, keep_order: bool = False) -> None:
        self.waiting: deque[Sequence] = deque()
        self.running: list[Sequence] = []
        self._slots = slots
        self._step_tokens = step_tokens
        self._small_step = small_step or step_tokens
        self._keep_order = keep_order

    @property
    def has_work(self) -> bool:
        return bool(self.running or self.waiting)

    def add(self, sequence: Sequence) -> None:
        self.waiting.append(sequence)

    def remove(self, sequence: Sequence, *, keep_cells: bool = True) -> None:
        """Take a sequence out for good, wherever it is; its slot comes back."""
        if sequence.slot is None:
            self.waiting.remove(sequence)
            return
        self.running.remove(sequence)
        self._free(sequence, keep_cells=keep_cells)

    def schedule(
        self,
        prefill_budget: Callable[[int, int], int],
        share_forced: ShareForced = lambda wanted, _, room: in_turn(wanted, room),
    ) -> Schedule:
        """Choose the work of one step.

        ``prefill_budget`` tells how many prefill tokens may join a number of decoding sequences, while so many others
        wait for theirs.
        ``share_forced`` tells how many of the tokens that had to follow each sequence takes.
        """
        if self.waiting and not self.running:
            self._start_over()
        preempted = self._preempt()
        work = [Work(s, 1, is_decode=True, has_output=True) for s in self.running if self._num_left(s) == 1]
        self._add_forced(work, share_forced)
        budget = self._step_tokens - sum(item.num_tokens for item in work)
        if work and (len(work) < len(self.running) or self.waiting):
            num_prompts = len(self.running) - len(work) + min(len(self.waiting), self._slots.num_free)
            budget = min(budget, prefill_budget(len(work), num_prompts))
        cells = self._slots.num_cells_available - sum(item.num_tokens for item in work)
        decoding = {item.sequence.id for item in work}
        for sequence in self.running:
            left = self._num_left(sequence)
            if sequence.id not in decoding and left > 1 and min(budget := self._allowed(left, budget, work), cells) > 0:
                work.append(chunk := self._chunk(sequence, min(budget, cells)))
                budget, cells = budget - chunk.num_tokens, cells - chunk.num_tokens
        admitted: list[Sequence] = []
        while not preempted and self._can_admit(cells):
            budget = self._allowed(self._num_uncached(self.waiting[0]), budget, work)
            if budget <= 0:
                break
            sequence = self._admit()
            admitted.append(sequence)
            work.append(chunk := self._chunk(sequence, budget))
            budget -= chunk.num_tokens
            cells = self._slots.num_cells_available - sum(w.num_tokens for w in work)
        self._slots.make_room(sum(w.num_tokens for w in work))
        return Schedule(work, admitted, preempted)

    # Steps of the policy

    def _add_forced(self, work: list[Work], share: ShareForced) -> None:
        """Add sequences whose last round ended with tokens that had to follow: they are decoded with the next one.

        Each takes one token at least, as it would without speculation.
        """
        running = [(s, self._num_left(s)) for s in self.running if s.num_forced]
        forced = [(sequence, left) for sequence, left in running if 1 < left <= 1 + sequence.num_forced]
        room = min(self._step_tokens, self._slots.num_cells_available) - len(work)
        if not forced or room < len(forced):
            return
        sizes = share([left for _, left in forced], len(work), room)
        for (sequence, left), size in zip(forced, sizes, strict=True):
            work.append(Work(sequence, size, is_decode=True, has_output=size == left))

    def _allowed(self, num_left: int, budget: int, work: list[Work]) -> int:
        """What is left of the budget for a sequence with so much of its prompt left: all of it for a long one alone."""
        if not work and num_left > self._small_step:
            return budget
        num_decoding = sum(item.is_decode for item in work)
        # Where nearly all of a small step decodes, its limit is exceeded anyway: prompts must still be read.
        shared = max(self._small_step, 2 * num_decoding)
        return min(budget, shared - sum(item.num_tokens for item in work))

    def _start_over(self) -> None:
        """No sequence runs: cells can be given up now without changing the order of any sequence's cells."""
        if self._keep_order:
            self._slots.clear_cached()
        else:
            self._slots.tidy(self.waiting[0].tokens)

    def _preempt(self) -> list[Sequence]:
        """Free cells until every decoding sequence, or at least the oldest sequence, can go on."""
        preempted = []
        while len(self.running) > 1 and self._slots.num_cells_available < self._num_cells_needed():
            youngest = self.running.pop()
            self._free(youngest, keep_cells=True)
            self.waiting.appendleft(youngest)
            preempted.append(youngest)
        return preempted

    def _num_cells_needed(self) -> int:
        return max(1, sum(self._num_left(s) == 1 for s in self.running))

    def _can_admit(self, cells: int) -> bool:
        if not self.waiting or not self._slots.has_slot():
            return False
        if self._keep_order and self.running:
            return self._slots.has_empty_slot() and self._num_cells_reserved() <= self._slots.num_cells_unused
        # A cell of headroom for each running sequence, so that admitting one does not preempt it at once.
        headroom = len(self.running) + 1 if self.running else 0
        candidate = self.waiting[0]
        return self._slots.num_new_cells(candidate.tokens, candidate.reusable) + headroom <= cells

    def _num_uncached(self, sequence: Sequence) -> int:
        return self._slots.num_uncached(sequence.tokens, sequence.reusable)

    def _num_cells_reserved(self) -> int:
        """Cells that the running sequences and the first waiting one may still come to need."""
        candidate = self.waiting[0]
        own = candidate.num_tokens + candidate.num_left
        return own + sum(self._num_left(s) + s.num_left for s in self.running)

    def _admit(self) -> Sequence:
        sequence = self.waiting.popleft()
        sequence.slot = self._slots.acquire(sequence.tokens, sequence.reusable)
        self.running.append(sequence)
        return sequence

    def _chunk(self, sequence: Sequence, budget: int) -> Work:
        """The next tokens of a prompt, up to where a state of it is to be kept."""
        assert sequence.slot is not None
        left, length = self._num_left(sequence), self._slots.length(sequence.slot)
        until_checkpoint = next((place - length for place in sequence.checkpoints if place > length), left)
        size = min(left, budget, until_checkpoint)
        if sequence.wants_prompt_rows:  # a step gives as many rows as drafts may need, or as any context can
            is_alone = len(self.running) == 1 and not self.waiting
            size = min(size, MIN_OUTPUTS if is_alone else 1 + MAX_DRAFT_LENGTH)
        if self._keep_order and size > self._small_step and size % self._small_step == 1:
            size -= 2  # else its last token would be computed alone, with the rounding of that
        return Work(sequence, size, is_decode=False, has_output=size == left)

    def _free(self, sequence: Sequence, *, keep_cells: bool) -> None:
        assert sequence.slot is not None
        self._slots.release(sequence.slot, keep=keep_cells, lasting=sequence.params.keep_cells)
        sequence.slot = None

    def _num_left(self, sequence: Sequence) -> int:
        assert sequence.slot is not None
        return sequence.num_tokens - self._slots.length(sequence.slot)
