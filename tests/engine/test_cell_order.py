"""With ``keep_order`` every running sequence's cells lie in the order of its tokens, whoever comes and goes."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from exsa_lab.engine.kv_slots import Share, SlotTable
from exsa_lab.engine.scheduler import Scheduler
from exsa_lab.engine.sequence import Sequence
from tests.engine.test_scheduler import sequence

SLOTS, CELLS = 6, 48


class LowestFirst:
    """A cache that gives out its lowest free cell, as llama.cpp does once something was freed."""

    def __init__(self) -> None:
        self.cells: dict[int, list[int]] = {slot: [] for slot in range(SLOTS)}

    def perform(self, slots: SlotTable) -> None:
        for operation in slots.take_operations():
            if isinstance(operation, Share):
                self.cells[operation.target] = self.cells[operation.source][: operation.length]
            else:
                del self.cells[operation.slot][operation.length :]

    def compute(self, slot: int, num_tokens: int) -> None:
        used = {cell for cells in self.cells.values() for cell in cells}
        free = [cell for cell in range(CELLS) if cell not in used]
        self.cells[slot] += free[:num_tokens]


class Engine:
    def __init__(self, *, keep_order: bool, max_held: int) -> None:
        self.slots = SlotTable(SLOTS, CELLS, max_held=max_held, max_cached=8, fast_cells=6)
        self.scheduler = Scheduler(self.slots, step_tokens=10, keep_order=keep_order)
        self.cache = LowestFirst()
        self.num_out_of_order = 0

    def step(self) -> None:
        schedule = self.scheduler.schedule(lambda *_: 3)
        self.cache.perform(self.slots)
        for work in schedule.work:
            self._compute(work.sequence, work.num_tokens, has_output=work.has_output)
        self.cache.perform(self.slots)

    def _compute(self, one: Sequence, num_tokens: int, *, has_output: bool) -> None:
        assert one.slot is not None
        start = self.slots.length(one.slot)
        self.slots.extend(one.slot, one.tokens[start : start + num_tokens])
        self.cache.compute(one.slot, num_tokens)
        cells = self.cache.cells[one.slot]
        self.num_out_of_order += cells != sorted(cells)
        if has_output:
            one.tokens.append(0)
            if one.num_left <= 0:
                self.scheduler.remove(one)


requests = st.tuples(
    st.lists(st.integers(0, 1), min_size=1, max_size=14),  # few different tokens, so that prefixes are shared
    st.integers(1, 10),
    st.integers(0, 6),
)


@given(st.lists(requests, min_size=1, max_size=14), st.integers(1, 4))
def test_cells_stay_in_order_and_everybody_finishes(arrivals: list[tuple[list[int], int, int]], max_held: int) -> None:
    engine = Engine(keep_order=True, max_held=max_held)
    for number, (prompt, left, pause) in enumerate(arrivals):
        engine.scheduler.add(sequence(number, prompt, left=left))
        for _ in range(pause):
            engine.step()
    for _ in range(1000):
        if not engine.scheduler.has_work:
            break
        engine.step()

    assert not engine.scheduler.has_work
    assert engine.num_out_of_order == 0


def test_a_burst_stays_in_order_without_it_too_as_long_as_there_is_room() -> None:
    engine = Engine(keep_order=False, max_held=2)
    for number in range(SLOTS):
        engine.scheduler.add(sequence(number, [number] * 3, left=4))
    while engine.scheduler.has_work:
        engine.step()

    assert engine.num_out_of_order == 0


def test_without_it_room_goes_first() -> None:
    """What ``keep_order`` is for: more requests than slots, so cells are used again beside others."""
    engine = Engine(keep_order=False, max_held=3)
    for number in range(4 * SLOTS):
        engine.scheduler.add(sequence(number, [number] * (3 + number % 4), left=4 + number % 3))
    while engine.scheduler.has_work:
        engine.step()

    assert engine.num_out_of_order > 0
