"""Whose cells the first ones of a slot are, as slots share and lose them."""

from __future__ import annotations

from exsa_lab.engine.caches.sharing import link, unlink
from exsa_lab.engine.caches.slot import Slot


def slots_of(*links: tuple[int, int | None]) -> list[Slot]:
    return [Slot(shared=shared, same_as=same_as) for shared, same_as in links]


def links_of(slots: list[Slot]) -> list[tuple[int, int | None]]:
    return [(slot.shared, slot.same_as) for slot in slots]


def test_a_beginning_is_that_of_the_slot_it_came_from() -> None:
    slots = slots_of((0, None), (0, None))
    link(slots, 0, 1, 5)
    assert links_of(slots) == [(0, None), (5, 0)]


def test_who_shared_more_than_is_left_has_that_with_one_another() -> None:
    slots = slots_of((0, None), (5, 0), (8, 0), (2, 0))
    unlink(slots, 0, 3)
    assert links_of(slots) == [(0, None), (5, 2), (3, 0), (2, 0)]


def test_nothing_is_left_of_a_slot_that_others_share() -> None:
    slots = slots_of((0, None), (5, 0), (8, 0))
    unlink(slots, 0, 0)
    assert links_of(slots) == [(0, None), (5, 2), (0, None)]


def test_cells_of_a_third_slot_stay_those_of_the_third() -> None:
    slots = slots_of((0, None), (6, 0), (4, 1), (9, 1))
    unlink(slots, 1, 2)
    assert links_of(slots) == [(0, None), (2, 0), (4, 3), (6, 0)]


def test_a_slot_that_is_emptied_shares_nothing() -> None:
    slots = slots_of((0, None), (6, 0))
    unlink(slots, 1, 0)
    assert links_of(slots) == [(0, None), (0, None)]
