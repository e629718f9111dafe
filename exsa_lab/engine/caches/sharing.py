"""Whose cells the first ones of a slot are: a tree of slots, kept up as beginnings are shared and cut.

A slot names one other, ``same_as``, and how many cells it has in common with it, ``shared``. Without those each cell is
counted once: the sum of ``len(cells) - shared`` is the number of cells in use.
"""

from __future__ import annotations

from collections.abc import Sequence

from exsa_lab.engine.caches.slot import Slot


def link(slots: Sequence[Slot], source: int, target: int, length: int) -> None:
    """An empty slot gets the first ``length`` cells of another one."""
    slots[target].shared, slots[target].same_as = length, source if length else None


def unlink(slots: Sequence[Slot], index: int, length: int) -> None:
    """A slot keeps its first ``length`` cells; those who had more in common with it now have that with one another."""
    slot = slots[index]
    others = [other for other, at in enumerate(slots) if at.same_as == index and at.shared > length]
    if others:
        heir = max(others, key=lambda other: slots[other].shared)
        for other in others:
            slots[other].same_as = heir
        if slot.shared > length:  # a third one's cells
            slots[heir].shared, slots[heir].same_as = min(slots[heir].shared, slot.shared), slot.same_as
        else:
            slots[heir].shared, slots[heir].same_as = length, index if length else None
    if slot.shared > length:
        slot.shared, slot.same_as = length, slot.same_as if length else None
