"""Numbers of one generation, and of the engine; and what views ask of it."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import NamedTuple, Protocol

from exsa_lab.config import EngineConfig

_INT = "i"
"""Type code of the numbers in packed slots: four bytes each."""


@dataclass(slots=True)
class Stats:
    """What one generation cost and gained. Times in seconds.

    ``draft_s``, ``verify_s`` and ``sample_s`` are those of the steps it took part in, which other generations
    share: they do not add up over generations.
    """

    prompt_tokens: int = 0
    cached_prompt_tokens: int = 0
    """Prompt tokens taken from the prefix cache instead of being computed."""
    dropped_turns: int = 0
    """Oldest turns of the conversation that were left out of the prompt, since the context is full."""
    generated_tokens: int = 0
    forced_tokens: int = 0
    """Tokens among them of which there was no choice, committed without asking a model."""
    waiting_s: float = 0.0
    """From submission until a slot was given."""
    ttft_s: float = 0.0
    """Time to first token, from submission."""
    decode_s: float = 0.0
    """From the first token to the last."""
    rounds: int = 0
    drafted_tokens: int = 0
    accepted_tokens: int = 0
    draft_s: float = 0.0
    verify_s: float = 0.0
    sample_s: float = 0.0
    preemptions: int = 0
    draft_reasons: dict[str, int] = field(default_factory=dict)
    """Rounds by the reason of their draft length."""

    @property
    def tokens_per_second(self) -> float:
        """Decode speed: tokens after the first, by the time they took."""
        return (self.generated_tokens - 1) / self.decode_s if self.decode_s > 0 else 0.0

    @property
    def acceptance_rate(self) -> float:
        """Accepted draft tokens by drafted tokens."""
        return self.accepted_tokens / self.drafted_tokens if self.drafted_tokens else 0.0

    @property
    def mean_tokens_per_round(self) -> float:
        return self.generated_tokens / self.rounds if self.rounds else 0.0

    def as_dict(self) -> dict[str, float]:
        """Return every number under its name, the derived ones included."""
        names = [name for name in self.__dataclass_fields__ if name != "draft_reasons"]
        names += ["tokens_per_second", "acceptance_rate", "mean_tokens_per_round"]
        return {name: getattr(self, name) for name in names}


class SlotUse(NamedTuple):
    """One slot of the KV cache at the end of a step."""

    slot: int
    generation: int
    """Id of the generation that runs in it; 0 where the cells of one that is over are kept."""
    cells: int
    shared: int
    """So many of its first cells are those of another slot, where they are counted;"""
    same_as: int
    """this one, where ``shared`` is not 0."""


def pack_uses(uses: Iterable[SlotUse]) -> bytes:
    """Return them as `StepRecord.slots` keeps them: 20 bytes each, since many steps are kept."""
    return array(_INT, chain.from_iterable(uses)).tobytes()


class StepRecord(NamedTuple):
    """One engine step. Times in seconds; ``time_s`` counts from the engine's start."""

    time_s: float
    tokens: int
    prefill_tokens: int
    draft_tokens: int
    committed_tokens: int
    sequences: int
    waiting: int
    slots_used: int
    cells_used: int
    step_s: float
    draft_s: float
    verify_s: float
    sample_s: float
    slots: bytes = b""
    """What lay in the KV cache when it ended, packed; see `uses`."""

    @property
    def uses(self) -> list[SlotUse]:
        """The slots that were not empty at its end, in their order; a beginning that several share is counted once."""
        numbers = array(_INT, self.slots)
        width = len(SlotUse._fields)
        return [SlotUse(*numbers[at : at + width]) for at in range(0, len(numbers), width)]


@dataclass(frozen=True, slots=True)
class EngineStatus:
    """A snapshot of the engine, as ``engine.status()`` gives it."""

    state: str
    running: int = 0
    waiting: int = 0
    slots: int = 0
    slots_used: int = 0
    """Slots of running generations."""
    slots_cached: int = 0
    """Slots that hold a finished generation's cells for reuse."""
    cells: int = 0
    cells_used: int = 0
    cells_cached: int = 0
    """Cells held only for reuse; given up as soon as they are needed."""
    steps: int = 0
    generated_tokens: int = 0
    max_draft_length: int = 0
    """The longest draft that the target's memory can take back; 0 where it cannot, see ``engine.notes``."""


class EngineView(Protocol):
    """What views ask of the engine of a generation."""

    config: EngineConfig

    @property
    def state(self) -> str: ...

    @property
    def model_names(self) -> dict[str, str | None]: ...

    @property
    def started(self) -> float: ...

    @property
    def steps(self) -> Sequence[StepRecord]: ...
