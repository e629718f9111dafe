"""Operations on caches that fail: what was lost is known to be lost."""

from __future__ import annotations

import pytest

from exsa_lab.config import EngineConfig
from exsa_lab.engine.caches.checkpoints import Checkpoints
from exsa_lab.engine.caches.perform import perform
from exsa_lab.engine.kv_slots import SlotTable
from exsa_lab.engine.proposers import ModelDrafter
from exsa_lab.errors import DecodeError, EngineFailed
from exsa_lab.runtime.protocol import UNLIMITED, Window
from exsa_lab.testing import ScriptedModel

TEXT = [0, 1, 0, 1, 1]


class Caches:
    """A slot table with the caches of a target and a draft; ``read`` computes tokens in a slot of both."""

    def __init__(self, max_rollback: int = UNLIMITED, draft_rollback: int = UNLIMITED) -> None:
        target = ScriptedModel("ab", lambda tokens: [0.5, 0.5], max_rollback=max_rollback)
        draft = ScriptedModel("ab", lambda tokens: [0.5, 0.5], max_rollback=draft_rollback)
        config = EngineConfig(n_ctx=64, n_seq_max=3)
        self.target, self.draft = target.open_context(config, 1), draft.open_context(config, 1)
        self.slots = SlotTable(
            3,
            64,
            max_cached=64,
            max_rollback=max_rollback,
            checkpoints=Checkpoints(1 << 20),
            is_draft_recurrent=draft.is_recurrent,
        )
        self.drafter = ModelDrafter(draft, self.draft, self.slots)

    def read(self, slot: int, tokens: list[int]) -> None:
        for context in (self.target, self.draft):
            batch = context.new_batch()
            batch.add(tokens, self.slots.length(slot), slot, 0)
            context.decode(batch)
        self.slots.extend(slot, tokens)
        self.slots.set_drafted(slot, self.slots.length(slot))

    def perform(self) -> bool:
        return perform(self.slots, self.target, self.drafter)

    def check(self) -> None:
        """The caches hold what the table says."""
        for slot in range(3):
            assert self.target.tokens(slot) == self.slots.tokens(slot)
            assert len(self.draft.tokens(slot)) == self.slots.num_drafted(slot)


def begun(draft_rollback: int = UNLIMITED) -> Caches:
    caches = Caches(draft_rollback=draft_rollback)
    slot = caches.slots.acquire(TEXT)
    caches.read(slot, TEXT)
    caches.slots.release(slot, keep=True)
    return caches


def fail(*_: object) -> None:
    raise DecodeError("scripted failure.")


def test_what_is_decided_is_done_in_order() -> None:
    caches = begun()
    caches.slots.acquire([*TEXT[:2], 0, 0])
    assert caches.perform()
    caches.check()


@pytest.mark.parametrize("length", [2, 5])
@pytest.mark.parametrize("is_cut_first", [True, False])
def test_a_recurrent_draft_has_a_slot_as_a_whole_or_not_at_all(length: int, is_cut_first: bool) -> None:
    """Its state of more tokens is no state of those that are shared, whatever becomes of the donor in the same step."""
    caches = begun(draft_rollback=0)
    if is_cut_first:
        caches.slots.truncate(0, length)
    slot = caches.slots.acquire([*TEXT[:length], 0, 0])
    if not is_cut_first:
        caches.slots.truncate(0, 1)
    assert caches.slots.num_drafted(slot) == (5 if length == 5 else 0)
    assert caches.perform()
    caches.check()


@pytest.mark.parametrize("part", ["target", "draft"])
def test_a_copy_that_fails_is_no_copy(part: str, monkeypatch: pytest.MonkeyPatch) -> None:
    caches = begun()
    slot = caches.slots.acquire([*TEXT[:4], 0, 0])
    monkeypatch.setattr(getattr(caches, part), "copy", fail)
    assert caches.perform() == (part == "draft")
    assert caches.slots.length(slot) == (4 if part == "draft" else 0)
    caches.check()


@pytest.mark.parametrize("part", ["target", "draft"])
def test_a_removal_that_fails_clears_the_slot(part: str, monkeypatch: pytest.MonkeyPatch) -> None:
    caches = begun()
    caches.slots.truncate(0, 2)
    remove = getattr(caches, part).remove
    monkeypatch.setattr(getattr(caches, part), "remove", lambda slot, start: fail() if start else remove(slot, start))
    assert caches.perform() == (part == "draft")
    caches.check()


@pytest.mark.parametrize("part", ["target", "draft"])
def test_a_cache_that_cannot_be_cleared_ends_the_engine(part: str, monkeypatch: pytest.MonkeyPatch) -> None:
    caches = begun()
    caches.slots.truncate(0, 0)
    monkeypatch.setattr(getattr(caches, part), "remove", fail)
    with pytest.raises(EngineFailed, match="cannot be cleared"):
        caches.perform()


def test_recurrent_memory_that_fails_loses_all_slots_but_no_checkpoint(monkeypatch: pytest.MonkeyPatch) -> None:
    caches = Caches(0)
    first = caches.slots.acquire(TEXT)
    caches.read(first, TEXT[:3])
    caches.slots.save(first)
    assert caches.perform()
    other = caches.slots.acquire([1, 1])
    caches.read(other, [1, 1])
    caches.slots.acquire([*TEXT[:3], 1])
    monkeypatch.setattr(caches.target, "copy", fail)
    assert not caches.perform()
    assert [caches.slots.length(slot) for slot in range(3)] == [0, 0, 0]
    assert len(caches.slots.checkpoints) == 1
    caches.check()


def test_a_prompt_goes_on_from_a_checkpoint_whose_cells_lie_in_a_slot_that_was_just_taken_back() -> None:
    """Of that slot the cells are copied only: its state is not that of its end, and is replaced."""
    caches = Caches(4)
    slot = caches.slots.acquire(TEXT)
    caches.read(slot, TEXT[:3])
    caches.slots.save(slot)
    assert caches.perform()
    caches.read(slot, [1, 1, 0])
    caches.slots.truncate(slot, 4)
    other = caches.slots.acquire([*TEXT[:3], 0, 0])
    assert caches.perform()
    assert caches.slots.length(other) == 3
    caches.read(other, [0])
    caches.read(slot, [1])
    caches.check()


def test_a_state_that_cannot_be_had_is_no_checkpoint(monkeypatch: pytest.MonkeyPatch) -> None:
    caches = Caches(0)
    slot = caches.slots.acquire(TEXT)
    caches.read(slot, TEXT[:3])
    caches.slots.save(slot)
    monkeypatch.setattr(caches.target, "save", fail)
    assert caches.perform()
    assert len(caches.slots.checkpoints) == 0
    caches.check()


def test_no_state_is_kept_of_what_is_lost_before_it_is_copied() -> None:
    caches = Caches(0)
    slot = caches.slots.acquire(TEXT)
    caches.read(slot, TEXT[:3])
    caches.slots.save(slot)
    caches.slots.lose()
    assert caches.perform()
    assert len(caches.slots.checkpoints) == 0
    caches.check()


def test_a_roll_back_behind_what_a_sliding_window_still_has_loses_the_slot(monkeypatch: pytest.MonkeyPatch) -> None:
    """Refused drafts moved the window on, and the same decode gave its cells away."""
    caches = begun()
    monkeypatch.setattr(caches.target, "window", Window(2))
    monkeypatch.setattr(caches.target, "first_whole", lambda slot: 3)
    caches.slots.truncate(0, 4)
    assert caches.perform()
    caches.slots.truncate(0, 3)
    assert not caches.perform()
    assert caches.slots.tokens(0) == []
    caches.check()
