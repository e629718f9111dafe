"""What goes in and out of the draft length policy for one step, and the decisions while a draft model drafts."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import NamedTuple

from exsa_lab.config import MAX_DRAFT_LENGTH, DrafterName
from exsa_lab.costs.stairs import TILE
from exsa_lab.events import DraftReason
from exsa_lab.speculation.acceptance_rates import AcceptanceRates, DraftHistory
from exsa_lab.speculation.goodput import StepCosts


@dataclass(slots=True)
class DraftRequest:
    """What the policy must know of one decoding sequence with ``draft_length="auto"``."""

    history: DraftHistory
    drafter: DrafterName = "auto"
    limit: int = MAX_DRAFT_LENGTH
    """Most draft tokens it can use: what it may still generate less one, and room in the context."""
    ngram_tokens: int = 0
    """Length of the lookup's proposal, 0 for none."""
    match_length: int = 0
    draft_lag: int = 1
    """Tokens of the sequence that the draft's cache lacks, the last committed one included."""
    tokens_left: int = 1 << 30
    """Tokens it may still generate."""
    num_filled: int = 0
    """Places of a mode's width that its certain tokens take."""
    num_repeated: int = 0
    """How many tokens it wrote last as an earlier text has them, or its own."""


class Others(NamedTuple):
    """What shares a step with the sequences that the policy decides on."""

    sequences: int = 0
    """Sequences whose length the user fixed, with a token each."""
    drafted: int = 0
    """Draft tokens of theirs."""
    certain: int = 0
    """Tokens that are computed whatever is drafted, and bring a plain step forward: a form left no choice of them."""


ALONE = Others()


@dataclass(slots=True)
class DraftChoice:
    """One sequence's draft in one step: who drafts, how many tokens, and why."""

    drafter: DrafterName
    k: int
    """How long it is expected to become."""
    reason: DraftReason
    taken: int = 0
    """Tokens that the draft model drew."""
    alive: float = 1.0
    """Probability that all of them are accepted."""


class DraftOutcome(NamedTuple):
    """What became of one sequence's draft."""

    committed: int = 1
    """Tokens committed, accepted draft tokens and the target's own."""
    verified: int = 0
    """Draft tokens that took part in the verification."""
    decodes: int = 0
    """Tokens that the draft model computed, the one it stopped short of taking included."""


class Take(Enum):
    """What to do with the token a draft model would draw next."""

    STOP = "leave it and stop"
    LAST = "take it and stop"
    MORE = "take it and draft on"


@dataclass(slots=True)
class StepPlan:
    """The choices of one step, and the running decisions while the draft model drafts.

    ``choices[i]`` belongs to ``requests[i]``. For a model draft, ``k`` is what is expected to pay; ask `take` before
    each token is drawn, which may end the draft sooner or let it run longer.
    """

    requests: Sequence[DraftRequest]
    choices: list[DraftChoice]
    costs: StepCosts
    rates: AcceptanceRates
    seconds_per_token: float
    """What a token is worth: what it takes at the goodput that is expected of this step."""
    width: int = 0
    """Draft tokens to which every draft is filled up, so that the batch keeps its shape; 0 leaves it free."""
    is_lockstep: bool = False
    """Whether all of the model's drafts take the length chosen, so that the draft's batches keep their shape."""
    change_seconds: float = 0.0
    """What the change of the batch's shape is expected to take in this step: two steps share it."""

    def take(self, index: int, confidence: float) -> Take:
        """Decide about the draft model's next token of ``requests[index]``, before it is drawn.

        ``confidence`` is the probability of the most probable token there. The token is taken where it is expected to
        save more time than it takes, and another is drafted where that is expected of the next one, too.
        """
        choice, history = self.choices[index], self.requests[index].history
        if choice.reason is DraftReason.PROBING:
            return Take.STOP
        place = sum(other.k for other in self.choices) - choice.k + choice.taken
        # Sequences that draft together share the decodes; that of the token at hand is over.
        num = sum(other.drafter == "model" and other.k > other.taken for other in self.choices)
        choice.alive *= self.rates.chance(history, confidence)
        if choice.alive * self.seconds_per_token <= self._verify_seconds(place):
            choice.k = choice.taken
            return Take.STOP
        choice.taken += 1
        alive_then = choice.alive * self.rates.model_rate(history)
        if alive_then * self.seconds_per_token <= self.costs.draft[num] / num + self._verify_seconds(place + 1):
            choice.k = choice.taken
            return Take.LAST
        choice.k = max(choice.k, choice.taken + 1)
        return Take.MORE

    def _verify_seconds(self, drafted: int) -> float:
        """What a token beside so many adds to the target's step, on the way to the next stair at best."""
        here, *more = self.costs.target[drafted : drafted + TILE + 1]
        return min(((seconds - here) / num for num, seconds in enumerate(more, start=1)), default=math.inf)
