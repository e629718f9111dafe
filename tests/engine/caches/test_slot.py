"""A slot begins empty, free, and with nothing that cannot be taken back."""

from __future__ import annotations

import pytest

from exsa_lab.engine.caches.checkpoints import Checkpoint
from exsa_lab.engine.caches.slot import PrefixSource, Slot, find_holder, usable_prefix
from exsa_lab.runtime.protocol import UNLIMITED, Window


def test_a_new_slot_holds_nothing_and_shares_nothing() -> None:
    first, second = Slot(), Slot()
    first.tokens.append(1)
    first.cells.append(7)
    assert (second.tokens, second.cells) == ([], [])
    assert not (second.is_held)
    assert not (second.is_lasting)
    assert not (second.is_pending)
    assert second.can_take_back == UNLIMITED


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
        (16, Window(8, is_chunked=True), 20),
        (17, Window(8, is_chunked=True), 0),
    ],
)
def test_a_beginning_is_usable_if_its_window_is_whole(first_whole: int, window: Window | None, length: int) -> None:
    slot = Slot(tokens=list(range(40)), first_whole=first_whole)
    assert usable_prefix(slot, [*range(20), 99, 99], window) == length


def test_with_a_window_a_checkpoint_needs_a_slot_that_ends_there() -> None:
    slots, checkpoint = [Slot(), Slot(tokens=[1, 2, 3, 4]), Slot(tokens=[1, 2, 3])], Checkpoint([1, 2, 3])
    assert find_holder(slots, checkpoint, None) == 1
    assert find_holder(slots, checkpoint, Window(2)) == 2
    assert find_holder(slots, Checkpoint([2]), None) is None
