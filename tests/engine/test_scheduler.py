"""The scheduler alone, on counts: no model, no threads."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from exsa_lab.config import SamplingParams
from exsa_lab.engine.kv_slots import SlotTable
from exsa_lab.engine.scheduler import Schedule, Scheduler, in_turn
from exsa_lab.engine.sequence import Sequence

UNUSED: Any = SimpleNamespace()


def sequence(number: int, prompt: list[int], *, left: int = 1000) -> Sequence:
    params = SamplingParams(max_tokens=left)
    return Sequence(number, params, list(prompt), len(prompt), generation=UNUSED, emitter=UNUSED, random=UNUSED)


class Harness:
    """Plays the engine: computes what is scheduled and appends one token where there is output."""

    def __init__(
        self,
        *,
        slots: int = 4,
        cells: int = 64,
        step_tokens: int = 16,
        beside: int = 4,
        small_step: int = 0,
        keep_order: bool = False,
    ) -> None:
        self.slots = SlotTable(slots, cells, max_cached=cells)
        self.scheduler = Scheduler(self.slots, step_tokens=step_tokens, small_step=small_step, keep_order=keep_order)
        self.beside = beside
        self.finished: list[Sequence] = []

    def step(self) -> Schedule:
        schedule = self.scheduler.schedule(lambda *_: self.beside)
        for work in schedule.work:
            slot = work.sequence.slot
            assert slot is not None
            start = self.slots.length(slot)
            self.slots.extend(slot, work.sequence.tokens[start : start + work.num_tokens])
            if work.has_output:
                work.sequence.tokens.append(0)
                full = work.sequence.num_tokens >= self.slots.n_cells
                if work.sequence.num_left <= 0 or full:
                    self.scheduler.remove(work.sequence)
                    self.finished.append(work.sequence)
        self.slots.take_operations()
        return schedule


def test_decode_comes_before_prefill_and_a_long_prompt_is_chunked() -> None:
    harness = Harness(beside=4)
    harness.scheduler.add(sequence(1, [1, 2]))
    harness.step()
    harness.scheduler.add(sequence(2, list(range(10, 30))))
    work = harness.step().work
    assert [(w.sequence.id, w.num_tokens, w.is_decode, w.has_output) for w in work] == [
        (1, 1, True, True),
        (2, 4, False, False),
    ]


def test_alone_a_prompt_takes_the_whole_budget() -> None:
    harness = Harness(step_tokens=16)
    harness.scheduler.add(sequence(1, list(range(20))))
    assert [w.num_tokens for w in harness.step().work] == [16]
    assert [(w.num_tokens, w.has_output) for w in harness.step().work] == [(4, True)]


def test_short_prompts_share_small_steps_and_a_long_one_has_large_ones_to_itself() -> None:
    harness = Harness(step_tokens=16, small_step=8, beside=16)
    for number, length in enumerate((20, 5, 5)):
        harness.scheduler.add(sequence(number, [number] * length))
    assert [(w.sequence.id, w.num_tokens) for w in harness.step().work] == [(0, 16)]
    # what is left of it is less than a small step, so others join
    assert [(w.sequence.id, w.num_tokens) for w in harness.step().work] == [(0, 4), (1, 4)]
    assert [(w.sequence.id, w.num_tokens) for w in harness.step().work] == [(0, 1), (1, 1), (2, 5)]


def test_a_long_prompt_beside_decoding_ones_stays_within_a_small_step() -> None:
    harness = Harness(step_tokens=16, small_step=8, beside=16)
    harness.scheduler.add(sequence(1, [1]))
    harness.step()
    harness.scheduler.add(sequence(2, [2] * 30))
    assert [(w.sequence.id, w.num_tokens) for w in harness.step().work] == [(1, 1), (2, 7)]


def test_with_keep_order_no_chunk_leaves_one_token_for_the_last_small_step() -> None:
    """It would be computed by itself, and rounded as a lone token is."""
    for length, sizes in ((17, [15, 2]), (24, [24]), (9, [7, 2]), (1, [1])):
        harness = Harness(step_tokens=64, small_step=8, keep_order=True)
        harness.scheduler.add(sequence(1, list(range(length)), left=2))
        assert [harness.step().work[0].num_tokens for _ in sizes] == sizes


def test_first_come_first_served() -> None:
    harness = Harness(slots=1)
    for number in (1, 2, 3):
        harness.scheduler.add(sequence(number, [number], left=2))
    while harness.scheduler.has_work:
        harness.step()
    assert [s.id for s in harness.finished] == [1, 2, 3]


def test_the_youngest_is_preempted_and_comes_back() -> None:
    harness = Harness(cells=16)
    harness.scheduler.add(sequence(1, [1] * 5, left=8))
    harness.scheduler.add(sequence(2, [2] * 5, left=8))
    preempted: list[int] = []
    while harness.scheduler.has_work:
        preempted += [s.id for s in harness.step().preempted]
    assert set(preempted) == {2}
    assert sorted(s.id for s in harness.finished) == [1, 2]


def test_a_waiting_sequence_can_be_removed() -> None:
    harness = Harness(slots=1)
    first, second = sequence(1, [1]), sequence(2, [2])
    harness.scheduler.add(first)
    harness.scheduler.add(second)
    harness.step()
    harness.scheduler.remove(second)
    assert not harness.scheduler.waiting


class SchedulerUnderLoad(RuleBasedStateMachine):
    """Random arrivals, cancels and failures."""

    def __init__(self) -> None:
        super().__init__()
        self.harness = Harness(slots=3, cells=40, step_tokens=12, beside=3, small_step=7)
        self.alive: dict[int, Sequence] = {}
        self.ended: list[int] = []
        self.number = 0

    @rule(prompt=st.lists(st.integers(0, 2), min_size=1, max_size=39), left=st.integers(1, 12))
    def arrive(self, prompt: list[int], left: int) -> None:
        self.number += 1
        self.alive[self.number] = sequence(self.number, prompt, left=left)
        self.harness.scheduler.add(self.alive[self.number])

    @precondition(lambda self: self.alive)
    @rule(data=st.data(), keep=st.booleans())
    def cancel_or_fail(self, data: st.DataObject, keep: bool) -> None:
        number = data.draw(st.sampled_from(sorted(self.alive)))
        self.harness.scheduler.remove(self.alive.pop(number), keep_cells=keep)
        self.ended.append(number)

    @rule()
    def step(self) -> None:
        had_work = self.harness.scheduler.has_work
        schedule = self.harness.step()
        assert sum(w.num_tokens for w in schedule.work) <= 12
        if any(w.is_decode for w in schedule.work):
            assert sum(w.num_tokens for w in schedule.work if not w.is_decode) <= 3
        assert bool(schedule.work) == had_work, "a step with work to do does some of it"
        for done in self.harness.finished:
            self.alive.pop(done.id)
            self.ended.append(done.id)
        self.harness.finished.clear()

    @invariant()
    def nothing_is_lost_or_leaked(self) -> None:
        scheduler, slots = self.harness.scheduler, self.harness.slots
        queued = [*scheduler.running, *scheduler.waiting]
        assert sorted(s.id for s in queued) == sorted(self.alive)
        assert len(set(self.ended)) == len(self.ended)
        held = [s.slot for s in scheduler.running]
        assert None not in held
        assert len(set(held)) == len(held) == slots.num_held
        assert all(s.slot is None for s in scheduler.waiting)
        assert slots.num_cells_used <= slots.n_cells

    def teardown(self) -> None:
        """Nothing starves: left alone, everything ends in a bounded number of steps."""
        for _ in range(2000):
            if not self.alive:
                break
            self.step()
        assert not self.alive
        assert self.harness.slots.num_held == 0


TestSchedulerUnderLoad = SchedulerUnderLoad.TestCase
TestSchedulerUnderLoad.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)


def test_forced_tokens_are_taken_as_far_as_they_are_worth_it_and_one_of_each_at_least() -> None:
    harness = Harness(step_tokens=16)
    ones = [sequence(number, [number]) for number in range(3)]
    for one in ones:
        harness.scheduler.add(one)
    harness.step()
    for one, num_forced in zip(ones, (0, 4, 3), strict=True):
        one.tokens += [7] * num_forced
        one.num_forced = num_forced
    asked: list[tuple[list[int], int, int]] = []

    def share(wanted: list[int], others: int, room: int) -> list[int]:
        asked.append((wanted, others, room))
        return in_turn(wanted, 7)

    work = harness.scheduler.schedule(lambda *_: 4, share).work
    assert asked == [([5, 4], 1, 15)]
    assert [(w.sequence.id, w.num_tokens, w.is_decode, w.has_output) for w in work] == [
        (0, 1, True, True),
        (1, 5, True, True),
        (2, 2, True, False),
    ]


def test_who_waits_for_a_first_token_is_counted_as_far_as_there_are_slots() -> None:
    harness = Harness(slots=4)
    harness.scheduler.add(sequence(0, [1, 2]))
    harness.step()
    for number in range(1, 6):
        harness.scheduler.add(sequence(number, list(range(10 * number, 10 * number + 8))))
    asked: list[tuple[int, int]] = []

    def budget(num_decoding: int, num_waiting: int) -> int:
        asked.append((num_decoding, num_waiting))
        return 4

    harness.step()
    harness.beside = 4
    harness.scheduler.schedule(budget)
    assert asked == [(1, 3)]
