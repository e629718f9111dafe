"""The longest cached beginning of a prompt: what a slot has, what a window spoils, and where states stand."""

from __future__ import annotations

import numpy as np
import pytest

from exsa_lab.engine.caches.checkpoints import Checkpoints
from exsa_lab.engine.caches.prefixes import PrefixFinder, PrefixSource, find_holder, usable_prefix
from exsa_lab.engine.caches.slot import Slot
from exsa_lab.runtime.protocol import Window


def test_nothing_is_to_be_had_from_no_source() -> None:
    assert PrefixSource() == PrefixSource(length=0, slot=None, checkpoint=None)


@pytest.mark.parametrize(
    ("first_whole", "window", "length"),
    [
        (0, None, 20),
        (9, None, 20),  # no layer has a window
        (0, Window(8), 20),
        (13, Window(8), 20),  # the token at 20 looks back at 13
        (14, Window(8), 0),
        (-1, Window(8), 0),  # nothing is left of it
        (16, Window(8, is_chunked=True), 20),
        (17, Window(8, is_chunked=True), 0),
    ],
)
def test_a_beginning_is_usable_if_its_window_is_whole(first_whole: int, window: Window | None, length: int) -> None:
    slot = Slot(tokens=list(range(40)), first_whole=first_whole)
    assert usable_prefix(slot, [*range(20), 99, 99], window) == length


def test_with_a_window_a_checkpoint_needs_a_slot_that_ends_there() -> None:
    slots = [Slot(), Slot(tokens=[1, 2, 3, 4]), Slot(tokens=[1, 2, 3])]
    assert find_holder(slots, [1, 2, 3], None) == 1
    assert find_holder(slots, [1, 2, 3], Window(2)) == 2
    assert find_holder(slots, [2], None) is None


def finder(slots: list[Slot], **options: bool) -> PrefixFinder:
    flags = {"is_limited": False, "shares_idle": True, "need_no_cells": False} | options
    return PrefixFinder(slots, Checkpoints(1 << 20), None, **flags)


def test_the_longest_beginning_wins_and_the_last_token_is_always_computed() -> None:
    find = finder([Slot(tokens=[1]), Slot(tokens=[1, 2, 3]), Slot(tokens=[9, 2, 3])]).find
    assert find([1, 2, 9]) == PrefixSource(2, 1)
    assert find([1, 2, 3]) == PrefixSource(2, 1)
    assert find([4]) == PrefixSource()


def test_idle_slots_are_shared_only_where_they_may_be() -> None:
    slots = [Slot(tokens=[1, 2]), Slot(tokens=[1], is_lasting=True), Slot(tokens=[3], is_held=True)]
    find = finder(slots, shares_idle=False).find
    assert find([1, 2, 3]) == PrefixSource(1, 1)
    assert find([3, 4]) == PrefixSource(1, 2)


def test_a_state_stands_only_where_a_slot_ends() -> None:
    slots = [Slot(tokens=[1, 2, 3]), Slot(tokens=[1], is_held=True, is_pending=True)]
    find = finder(slots, is_limited=True).find
    assert find([1, 2, 3, 4]) == PrefixSource(3, 0)
    assert find([1, 2, 4]) == PrefixSource()  # held and taken back: a copy would be the state before that
    slots[1].is_held = False
    assert find([1, 2, 4]) == PrefixSource(1, 1)


def test_a_checkpoint_needs_its_cells_unless_there_are_none() -> None:
    slots = [Slot(tokens=[1, 2, 3, 4])]
    for need_no_cells in (False, True):
        find = finder(slots, is_limited=True, need_no_cells=need_no_cells)
        for token in (1, 7):
            checkpoint = find.checkpoints.add([token] * 64)
            assert checkpoint is not None
            find.checkpoints.fill(checkpoint, np.zeros(8, np.uint8))
        slots[0].tokens = [1] * 70
        found = find.find([1] * 64 + [5])
        assert (found.length, found.slot) == (64, 0)
        assert found.checkpoint is not None
        assert find.find([7] * 64 + [5]).length == 64 * need_no_cells
