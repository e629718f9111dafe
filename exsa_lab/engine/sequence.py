"""One generation as the engine sees it: its tokens and where it stands."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from exsa_lab.config import SamplingParams
from exsa_lab.speculation.acceptance_rates import DraftHistory
from exsa_lab.speculation.token_worth import steps_left

if TYPE_CHECKING:
    from exsa_lab.engine.emitter import Emitter
    from exsa_lab.engine.generation import Generation
    from exsa_lab.speculation.ngram import NgramIndex
    from exsa_lab.speculation.sampling import RequestRandom


@dataclass(slots=True, eq=False)
class Sequence:
    """Tokens of a prompt and what was generated after them. Owned by the engine thread."""

    id: int
    params: SamplingParams
    tokens: list[int]
    """Prompt, then generated tokens."""
    num_prompt: int
    generation: Generation
    """The handle its user holds."""
    emitter: Emitter
    random: RequestRandom
    slot: int | None = None
    """Its slot in the KV cache while it runs."""
    round: int = 0
    """Rounds done so far."""
    history: DraftHistory = field(default_factory=DraftHistory)
    """What became of its drafts so far."""
    ngrams: NgramIndex | None = None
    """Its text, indexed for lookup; None where that drafter is not wanted."""
    deadline: float | None = None
    """Monotonic time at which it is cancelled."""

    @property
    def num_tokens(self) -> int:
        return len(self.tokens)

    @property
    def num_generated(self) -> int:
        return len(self.tokens) - self.num_prompt

    @property
    def num_left(self) -> int:
        """Tokens it may still generate."""
        return self.params.max_tokens - self.num_generated

    @property
    def steps_left(self) -> float:
        """Steps it takes to generate these, at the pace it had so far."""
        return steps_left(self.num_left, self.round, self.num_generated)

    def is_looked_at(self, setting: bool | Literal["auto"]) -> bool:
        """Whether the probabilities of its tokens are to be recorded; ``setting`` is `EngineConfig.probabilities`."""
        return self.generation.is_watched if setting == "auto" else setting

    def age(self) -> float:
        """Seconds since it was submitted."""
        return time.perf_counter() - self.generation.submitted
