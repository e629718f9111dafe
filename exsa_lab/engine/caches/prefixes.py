"""Where the beginning of a prompt is to be had: in a slot, from a checkpoint, or both."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from exsa_lab.engine.caches.checkpoints import Checkpoint, Checkpoints
from exsa_lab.engine.caches.slot import Slot
from exsa_lab.runtime.protocol import Window


@dataclass(frozen=True, slots=True)
class PrefixSource:
    """What has the first ``length`` tokens of a prompt; nothing where that is 0."""

    length: int = 0
    slot: int | None = None
    checkpoint: Checkpoint | None = None


@dataclass(frozen=True, slots=True)
class PrefixFinder:
    """Finds the longest beginning of a prompt that is cached. It looks at the table's slots and changes none.

    Attention has every prefix of a slot, if its window is whole there. Recurrent memory (``is_limited``) has only the
    states where slots end and those of checkpoints.
    """

    slots: Sequence[Slot]
    checkpoints: Checkpoints
    window: Window | None
    is_limited: bool
    shares_idle: bool
    """Whether cached slots are shared that do not last."""
    need_no_cells: bool
    """Whether a checkpoint is enough without a slot that holds its tokens."""

    def find(self, tokens: list[int]) -> PrefixSource:
        """Return where the longest beginning of these tokens, the last one excepted, is to be had."""
        if self.is_limited:
            return self._find_state(tokens)
        best = PrefixSource()
        for index, slot in enumerate(self.slots):
            common = usable_prefix(slot, tokens, self.window) if self._is_shared(slot) else 0
            if common > best.length:
                best = PrefixSource(common, index)
        return best

    def _find_state(self, tokens: list[int]) -> PrefixSource:
        best = PrefixSource()
        for index, slot in enumerate(self.slots):
            length = len(slot.tokens)
            is_usable = self._is_shared(slot) and not (slot.is_held and slot.is_pending)
            if best.length < length < len(tokens) and is_usable and slot.tokens == tokens[:length]:
                best = PrefixSource(length, index)
        for checkpoint in self.checkpoints.prefixes(tokens, most=len(tokens) - 1):
            if checkpoint.length <= best.length:
                break
            holder = find_holder(self.slots, tokens[: checkpoint.length], self.window)
            if holder is not None or self.need_no_cells:
                return PrefixSource(checkpoint.length, holder, checkpoint)
        return best

    def _is_shared(self, slot: Slot) -> bool:
        return self.shares_idle or slot.is_held or slot.is_lasting


def common_prefix(cached: list[int], tokens: list[int], most: int) -> int:
    """Return how many first tokens two lists have in common, ``most`` at most."""
    most = min(most, len(cached))
    if cached[:most] == tokens[:most]:
        return most
    return next(i for i in range(most) if cached[i] != tokens[i])


def usable_prefix(slot: Slot, tokens: list[int], window: Window | None) -> int:
    """Return how many first tokens of a prompt a slot has, the last one excepted; 0 without a whole window."""
    length = common_prefix(slot.tokens, tokens, len(tokens) - 1)
    return length if window is None or window.is_whole(slot.first_whole, length) else 0


def find_holder(slots: Sequence[Slot], tokens: list[int], window: Window | None) -> int | None:
    """Return a slot with the cells of these tokens; with a window only one that ends there is sure to."""
    for index, slot in enumerate(slots):
        is_sure = window is None or len(slot.tokens) == len(tokens)
        if is_sure and slot.tokens[: len(tokens)] == tokens:
            return index
    return None
