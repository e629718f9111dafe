from __future__ import annotations

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from exsa_lab.config import EngineConfig
from exsa_lab.engine.caches.checkpoints import Checkpoints
from exsa_lab.engine.caches.operations import Save
from exsa_lab.engine.kv_slots import Share, SlotTable, Truncate
from exsa_lab.runtime.protocol import Window
from exsa_lab.runtime.scripted import ScriptedModel

CELLS, SLOTS = 60, 4


def table(**options: int) -> SlotTable:
    return SlotTable(SLOTS, CELLS, **{"max_cached": CELLS, **options})


def fill(slots: SlotTable, tokens: list[int]) -> int:
    slot = slots.acquire(tokens)
    slots.extend(slot, tokens[slots.length(slot) :])
    return slot


def test_a_finished_sequence_is_reused_by_a_prompt_that_begins_alike() -> None:
    slots = table()
    first = fill(slots, [1, 2, 3, 4])
    slots.release(first, keep=True)
    second = slots.acquire([1, 2, 3, 9])
    assert slots.length(second) == 3
    assert slots.take_operations()[-1] == Share(first, second, 3, 0)


def test_what_a_sliding_window_lost_is_not_shared() -> None:
    slots = SlotTable(SLOTS, CELLS, max_cached=CELLS, window=Window(4))
    slots.release(first := fill(slots, list(range(20))), keep=True)
    slots.look(lambda slot: 16)
    assert slots.num_uncached([*range(10), 99]) == 11
    assert slots.num_uncached([*range(20), 99]) == 1
    slots.look(lambda slot: 7)
    second = slots.acquire([*range(10), 99])
    assert (second != first, slots.length(second)) == (True, 10)
    assert slots.num_uncached([*range(9), 99]) == 10  # nor from the copy, which lacks the same


def test_the_last_prompt_token_is_never_taken_from_the_cache() -> None:
    slots = table()
    slots.release(fill(slots, [1, 2, 3]), keep=True)
    assert slots.length(slots.acquire([1, 2, 3])) == 2


def test_shared_cells_count_once() -> None:
    slots = table()
    fill(slots, [1, 2, 3, 4])
    second = slots.acquire([1, 2, 3, 4])
    assert slots.length(second) == 3
    assert slots.num_cells_used == 4
    assert slots.num_new_cells([1, 2, 3, 4]) == 1


def test_the_least_recently_used_slot_is_given_up_first() -> None:
    slots = table()
    a, b = fill(slots, [1] * 10), fill(slots, [2] * 10)
    slots.release(b, keep=True)
    slots.release(a, keep=True)
    slots.take_operations()
    slots.make_room(CELLS - 10)
    assert slots.take_operations() == [Truncate(b, 0)]
    assert slots.length(a) == 10


def test_cached_cells_are_bounded_but_the_newest_stays() -> None:
    slots = table(max_cached=5)
    for token in (1, 2):
        slots.release(fill(slots, [token] * 10), keep=True)
    assert slots.num_cells_cached == 10
    assert slots.length(slots.acquire([2] * 10)) == 9


def test_without_a_cache_nothing_is_shared_but_with_who_runs() -> None:
    slots = table(max_cached=0)
    running = fill(slots, [9] * 5)
    slots.release(fill(slots, [1] * 10), keep=True)
    assert slots.num_uncached([1] * 10) == 10
    assert slots.num_uncached([9] * 5 + [1]) == 1
    assert slots.length(slots.acquire([1] * 10)) == 0

    slots.release(running, keep=True)
    assert slots.num_uncached([9] * 5 + [1]) == 6


def test_without_a_cache_the_newest_goes_once_nobody_runs() -> None:
    slots = table(max_cached=0)
    slots.release(fill(slots, [1] * 10), keep=True)
    assert not slots.num_cells_used


def test_a_short_prompt_that_comes_alone_finds_few_cells_in_use() -> None:
    slots = table(fast_cells=25)
    other, donor = fill(slots, [1] * 15), fill(slots, [2, 3, 4, 5])
    slots.release(other, keep=True)
    slots.release(donor, keep=True)
    slots.tidy([2, 3, 9])
    assert (slots.tokens(donor), slots.num_cells_used) == ([2, 3], 2)

    slots.tidy([2, 3, 9])  # nothing more is gained
    assert slots.num_cells_used == 2
    slots.tidy([7] * 26)  # a long one needs more than the fast cells anyway
    assert slots.num_cells_used == 2


def test_nothing_is_given_up_while_others_run_as_long_as_there_is_room() -> None:
    slots = table(max_cached=1)
    running = fill(slots, [9] * 5)
    for token in (1, 2):
        slots.release(fill(slots, [token] * 10), keep=True)
    slots.take_operations()
    slots.make_room(CELLS - 25)
    assert slots.take_operations() == []
    slots.make_room(CELLS - 24)  # no room: the older one goes
    assert slots.num_cells_cached == 10
    slots.release(running, keep=False)
    assert slots.num_cells_cached == 10  # nobody runs: only the newest stays


def test_without_an_empty_slot_all_that_is_too_much_goes_at_once() -> None:
    slots = table(max_cached=4)
    fill(slots, [9])
    for token in (1, 2, 3):
        slots.release(fill(slots, [token] * 4), keep=True)
    assert slots.num_cells_cached == 12
    slots.acquire([5])
    assert slots.num_cells_cached == 4


def test_more_slots_than_may_run_at_once() -> None:
    slots = table(max_held=1)
    slot = fill(slots, [1])
    assert not slots.has_slot()
    slots.release(slot, keep=True)
    assert slots.has_slot()
    assert slots.has_empty_slot()


def test_a_full_table_takes_the_donor_over_in_place() -> None:
    slots = table()
    for token in range(SLOTS - 1):
        fill(slots, [token + 10])
    donor = fill(slots, [1, 2, 3])
    slots.release(donor, keep=True)
    assert slots.acquire([1, 2, 9]) == donor
    assert slots.tokens(donor) == [1, 2]
    with pytest.raises(LookupError):
        slots.acquire([5])


def test_a_lasting_slot_is_kept_until_there_is_no_room() -> None:
    slots = table(max_cached=4, fast_cells=25)
    slots.release(lasting := fill(slots, [1] * 10), keep=True, lasting=True)
    for token in (2, 3):
        slots.release(fill(slots, [token] * 5), keep=True)
    slots.tidy([4, 4, 4])
    assert slots.tokens(lasting) == [1] * 10
    assert slots.num_cells_used == 10

    slots.release(fill(slots, [5] * 5), keep=True)
    slots.make_room(CELLS - 10)
    assert slots.tokens(lasting) == [1] * 10
    slots.make_room(CELLS - 9)
    assert not slots.num_cells_used


def test_a_lasting_slot_that_was_gone_on_from_gives_its_place_up() -> None:
    slots = table(max_cached=0, fast_cells=25)
    slots.release(first := fill(slots, [1, 2, 3]), keep=True, lasting=True)
    slots.release(other := fill(slots, [1, 2, 4]), keep=True, lasting=True)
    slots.release(second := fill(slots, [1, 2, 3, 5, 6]), keep=True, lasting=True)
    slots.tidy([9])
    assert [slots.length(index) for index in (first, other, second)] == [0, 3, 5]


class SlotsAgainstCaches(RuleBasedStateMachine):
    """Whatever is done, performing the recorded operations keeps a real cache equal to the table."""

    def __init__(self) -> None:
        super().__init__()
        self.slots = table(max_cached=20, fast_cells=16, max_held=SLOTS - 1)
        model = ScriptedModel(["a", "b", "c"], lambda _: [1 / 3] * 3)
        config = EngineConfig(n_ctx=CELLS, n_seq_max=SLOTS)
        self.target, self.draft = model.open_context(config, 1), model.open_context(config, 1)
        self.held: list[int] = []

    def perform(self) -> None:
        for operation in self.slots.take_operations():
            if isinstance(operation, Share):
                self.target.copy(operation.source, operation.target, 0, operation.length)
                self.draft.copy(operation.source, operation.target, 0, operation.draft_length)
            else:
                self.target.remove(operation.slot, operation.length)
                self.draft.remove(operation.slot, operation.length)

    @precondition(lambda self: self.slots.has_slot())
    @rule(tokens=st.lists(st.integers(0, 2), min_size=1, max_size=12))
    def admit(self, tokens: list[int]) -> None:
        if not self.held:
            self.slots.tidy(tokens)
        if self.slots.num_new_cells(tokens) > self.slots.num_cells_available:
            return
        slot = self.slots.acquire(tokens)
        self.held.append(slot)
        rest = tokens[self.slots.length(slot) :]
        self.slots.make_room(len(rest))
        self.perform()
        self.compute(slot, rest)

    def compute(self, slot: int, tokens: list[int]) -> None:
        batch = self.target.new_batch()
        batch.add(tokens, self.slots.length(slot), slot, 0)
        self.target.decode(batch)
        self.slots.extend(slot, tokens)

    @precondition(lambda self: self.held)
    @rule(data=st.data())
    def catch_the_draft_up(self, data: st.DataObject) -> None:
        slot = data.draw(st.sampled_from(self.held))
        tokens = self.slots.tokens(slot)[self.slots.num_drafted(slot) :]
        if tokens and self.draft.num_cells_used + len(tokens) <= CELLS:
            batch = self.draft.new_batch()
            batch.add(tokens, self.slots.num_drafted(slot), slot, 0)
            self.draft.decode(batch)
            self.slots.set_drafted(slot, self.slots.length(slot))

    @precondition(lambda self: self.held)
    @rule(data=st.data(), count=st.integers(0, 12))
    def roll_back(self, data: st.DataObject, count: int) -> None:
        slot = data.draw(st.sampled_from(self.held))
        self.slots.truncate(slot, min(count, self.slots.length(slot)))
        self.perform()

    @precondition(lambda self: self.held)
    @rule(data=st.data(), keep=st.booleans(), lasting=st.booleans())
    def finish(self, data: st.DataObject, keep: bool, lasting: bool) -> None:
        slot = data.draw(st.sampled_from(self.held))
        self.held.remove(slot)
        self.slots.release(slot, keep=keep, lasting=lasting)
        self.perform()

    @invariant()
    def the_caches_hold_what_the_table_says(self) -> None:
        for slot in range(SLOTS):
            tokens = self.slots.tokens(slot)
            assert self.target.tokens(slot) == tokens
            assert self.draft.tokens(slot) == tokens[: self.slots.num_drafted(slot)]
        assert self.target.num_cells_used == self.slots.num_cells_used
        assert self.slots.num_held == len(self.held)
        assert 0 <= self.slots.num_cells_cached <= self.slots.num_cells_used <= CELLS

    @invariant()
    def a_beginning_that_slots_share_is_counted_in_one_of_them(self) -> None:
        uses = {use.slot: use for use in self.slots.uses({slot: 100 + slot for slot in self.held})}
        assert sum(use.cells - use.shared for use in uses.values()) == self.slots.num_cells_used
        assert list(uses) == [slot for slot in range(SLOTS) if self.slots.tokens(slot)]
        for slot, use in uses.items():
            assert use.cells == self.slots.length(slot)
            assert use.generation == (100 + slot if slot in self.held else 0)
            if use.shared:
                assert use.same_as != slot
                assert self.slots.tokens(slot)[: use.shared] == self.slots.tokens(use.same_as)[: use.shared]


TestSlotsAgainstCaches = SlotsAgainstCaches.TestCase
TestSlotsAgainstCaches.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)


@pytest.mark.parametrize("window", [None, Window(4)])
def test_beside_a_window_a_slot_goes_back_to_no_checkpoint_within(window: Window | None) -> None:
    slots = SlotTable(SLOTS, CELLS, max_cached=CELLS, max_rollback=0, checkpoints=Checkpoints(1 << 20), window=window)
    slot = fill(slots, [1, 2, 3])
    slots.save(slot)
    for operation in slots.take_operations():
        if isinstance(operation, Save):
            slots.checkpoints.fill(operation.checkpoint, np.zeros(8, np.uint8))
    slots.extend(slot, [4, 5, 6])
    slots.truncate(slot, 4)
    assert slots.length(slot) == (3 if window is None else 0)
