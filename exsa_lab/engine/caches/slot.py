"""One slot of the KV cache as the slot table sees it, and where a prompt's beginning is to be had."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from exsa_lab.engine.caches.checkpoints import Checkpoint
from exsa_lab.runtime.protocol import UNLIMITED, Window


@dataclass(frozen=True, slots=True)
class PrefixSource:
    """Where the beginning of a prompt is to be had: in a slot, from a checkpoint, or both."""

    length: int = 0
    slot: int | None = None
    checkpoint: Checkpoint | None = None


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


def common_prefix(cached: list[int], tokens: list[int], most: int) -> int:
    """Return how many first tokens two lists have in common, ``most`` at most."""
    most = min(most, len(cached))
    if cached[:most] == tokens[:most]:
        return most
    return next(i for i in range(most) if cached[i] != tokens[i])


def usable_prefix(slot: Slot, tokens: list[int], window: Window | None) -> int:
    """Return how many first tokens of a prompt a slot has, the last one excepted; 0 without a whole window."""
    length = common_prefix(slot.tokens, tokens, len(tokens) - 1)
    return 0 if window is not None and slot.first_whole > window.start(length) else length


def find_holder(slots: Sequence[Slot], checkpoint: Checkpoint, window: Window | None) -> int | None:
    """Return a slot with the cells of a checkpoint's tokens; with a window only one that ends there is sure to."""
    for index, slot in enumerate(slots):
        is_sure = window is None or len(slot.tokens) == checkpoint.length
        if is_sure and slot.tokens[: checkpoint.length] == checkpoint.tokens:
            return index
    return None
