"""A slot begins empty, free, and with nothing that cannot be taken back."""

from __future__ import annotations

from exsa_lab.engine.caches.slot import Slot
from exsa_lab.runtime.protocol import UNLIMITED


def test_a_new_slot_holds_nothing_and_shares_nothing() -> None:
    first, second = Slot(), Slot()
    first.tokens.append(1)
    first.cells.append(7)
    assert (second.tokens, second.cells) == ([], [])
    assert not (second.is_held)
    assert not (second.is_lasting)
    assert not (second.is_pending)
    assert second.can_take_back == UNLIMITED
