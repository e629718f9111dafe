"""What the slot table decides and the caches do: the operations, as values."""

from __future__ import annotations

from dataclasses import dataclass

from exsa_lab.engine.caches.checkpoints import Checkpoint


@dataclass(frozen=True, slots=True)
class Truncate:
    """Drop the positions of ``slot`` from ``length`` on, in target and draft; length 0 clears it."""

    slot: int
    length: int


@dataclass(frozen=True, slots=True)
class Share:
    """Share the first ``length`` positions of slot ``source`` with the empty slot ``target``.

    In the draft's cache it is the first ``draft_length``.
    """

    source: int
    target: int
    length: int
    draft_length: int


@dataclass(frozen=True, slots=True)
class Save:
    """Fill in the state of a checkpoint from ``slot`` of the target's cache, which stands at its end."""

    slot: int
    checkpoint: Checkpoint


@dataclass(frozen=True, slots=True)
class Restore:
    """Put the state of a checkpoint into ``slot`` of the target's cache and drop what is beyond.

    The draft's cache has no checkpoints: there only what is beyond is dropped.
    """

    slot: int
    checkpoint: Checkpoint


Operation = Truncate | Share | Save | Restore
