"""What goes in and out of the draft length policy for one step, and the decisions while a draft model drafts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import NamedTuple

from exsa_lab.config import MAX_DRAFT_LENGTH, DrafterName
from exsa_lab.events import DraftReason
from exsa_lab.speculation.acceptance_rates import AcceptanceRates, DraftHistory


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


class DraftChoice(NamedTuple):
    """One sequence's draft in one step: who drafts, how many tokens, and why."""

    drafter: DrafterName
    k: int
    reason: DraftReason


class DraftOutcome(NamedTuple):
    """What became of one sequence's draft."""

    committed: int = 1
    """Tokens committed, accepted draft tokens and the target's own."""
    verified: int = 0
    """Draft tokens that took part in the verification."""
    decodes: int = 0
    """Tokens that the draft model computed, the one it stopped short of taking included."""


class Others(NamedTuple):
    """What shares a step with the sequences that the policy decides on."""

    sequences: int = 0
    """Sequences whose length the user fixed, with a token each."""
    drafted: int = 0
    """Draft tokens of theirs."""
    certain: int = 0
    """Tokens that are computed whatever is drafted, and bring a plain step forward: a form left no choice of them."""


ALONE = Others()


class Take(Enum):
    """What to do with the token a draft model would draw next."""

    STOP = "leave it and stop"
    LAST = "take it and stop"
    MORE = "take it and draft on"


class Mode(NamedTuple):
    """Who drafts, and how many tokens for each sequence, for a stretch of steps."""

    drafter: DrafterName
    """"auto" for the one that promises more in each step."""
    k: int


PLAIN = Mode("none", 0)
FREE = Mode("auto", MAX_DRAFT_LENGTH)
"""Where a change of shape costs nothing: any length, by either drafter."""


class StepCosts(NamedTuple):
    """Seconds of one step at the speed of calibration."""

    target: list[float]
    """The target's decode by number of draft tokens, 0 for a plain step; as long as there is room."""
    draft: list[float]
    """One decode of the draft by number of sequences; empty without a draft model."""
    certain: float = 0.0
    """What `Others.certain` adds: no cost of drafting, and none of a plain step."""

    @property
    def plain(self) -> float:
        """A step without any draft."""
        return self.target[0]

    def seconds(self, drafter: DrafterName, num: int, k: int) -> float:
        """A step in which so many sequences draft k tokens each."""
        return self.target[num * k] + (k * self.draft[num] if drafter == "model" else 0.0)


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
    mode: Mode = PLAIN
    width: int | None = None
    """Draft tokens to which every draft is filled up, so that the batch keeps its shape; None leaves it free."""
    longest: int = 0
    """Most tokens of a model draft."""
    seconds_per_token: float = 0.0
    """What a token is worth: what it takes at the goodput that is expected of this step."""
    is_probe: bool = False
    """Whether the model's token is only to be compared with what comes."""
    change_seconds: float = 0.0
    """What the change of the batch's shape is expected to take in this step: two steps share it."""
    _taken: list[int] = field(init=False)
    _ends: list[int] = field(init=False)
    """How long each draft is expected to become."""
    _alive: list[float] = field(init=False)

    def __post_init__(self) -> None:
        self._ends = [choice.k for choice in self.choices]
        self._taken, self._alive = [0] * len(self.choices), [1.0] * len(self.choices)

    @property
    def is_lockstep(self) -> bool:
        """Whether all of the model's drafts take the length chosen, so that the draft's batches keep their shape."""
        return self.mode.drafter == "model"

    def take(self, index: int, confidence: float) -> Take:
        """Decide about the draft model's next token of ``requests[index]``, before it is drawn.

        ``confidence`` is the probability of the most probable token there. The token is taken where it, or a run
        that starts with it, is expected to save more time than it takes.
        """
        choice, taken = self.choices[index], self._taken[index]
        if self.is_probe:
            return Take.STOP
        if self.is_lockstep:
            run = choice.k - taken
        else:
            self._alive[index] *= self.rates.chance(self.requests[index].history, confidence)
            run = self._best_run(index)
        self._taken[index] = taken + (run > 0)
        self._ends[index] = max(taken + run, choice.k) if run > 1 else taken + run
        return Take.MORE if run > 1 else Take.LAST if run else Take.STOP

    def _best_run(self, index: int) -> int:
        """How many more tokens pay, the one at hand included, or 2 for any more."""
        taken, alive = self._taken[index], self._alive[index]
        others = sum(self._ends) - self._ends[index] + taken
        # Sequences that draft together share the decodes; that of the token at hand is over.
        num = sum(end > taken for end, taken in zip(self._ends, self._taken, strict=True))
        decode, rate = self.costs.draft[num] / num, self.rates.model_rate(self.requests[index].history)
        value, best, best_run = decode, 0.0, 0
        before = self.costs.target[others] if self.width is None else 0.0
        longest = min(self.longest, self.requests[index].limit) - taken
        for run in range(1, min(longest, len(self.costs.target) - 1 - others) + 1):
            # A batch that keeps its width costs the same with fewer draft tokens.
            after = self.costs.target[others + run] if self.width is None else 0.0
            value += alive * self.seconds_per_token - (after - before) - decode
            if value > best:
                best, best_run = value, run
            if best_run > 1:
                break
            alive, before = alive * rate, after
        return best_run
