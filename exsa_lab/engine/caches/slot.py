"""One slot of the KV cache as the slot table sees it."""

from __future__ import annotations

from dataclasses import dataclass, field

from exsa_lab.runtime.protocol import UNLIMITED


@dataclass(slots=True)
class Slot:
    """One slot of the table: its tokens, their cells, and what may become of them."""

    tokens: list[int] = field(default_factory=list)
    cells: list[int] = field(default_factory=list)
    num_drafted: int = 0
    can_take_back: int = UNLIMITED
    """How many tokens can be taken off its end."""
    is_pending: bool = False
    """Whether its state was taken back and not decoded with since: a copy of it would not be taken back."""
    is_held: bool = False
    is_lasting: bool = False
    """Whether its cells stay, once it is cached, until there is no room for others."""
    last_used: int = 0
    first_whole: int = 0
    """The first position from which the layers with a window still have all its cells."""
    shared: int = 0
    """So many of its first cells are those of another slot,"""
    same_as: int | None = None
    """this one; see `exsa_lab.engine.caches.sharing`."""
