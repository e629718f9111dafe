"""What goes in and out of the draft length policy for one step."""

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


@dataclass(frozen=True, slots=True)
class DraftChoice:
    """One sequence's draft in one step: who drafts, how many tokens, and why."""

    drafter: DrafterName
    k: int
    reason: DraftReason


@dataclass(frozen=True, slots=True)
class DraftOutcome:
    """What became of one sequence's draft."""

    committed: int = 1
    """Tokens committed, accepted draft tokens and the target's own."""
    verified: int = 0
    """Draft tokens that took part in the verification."""
    confidences: tuple[float | None, ...] = ()
    """Draft model: confidence of each verified token, where it was asked for. Lookup is learned from
    `NgramIndex.learn` instead."""
    peeked: float | None = None
    """Draft model: confidence of the token that was looked at and not taken."""
    peeked_right: bool | None = None
    """Whether that token is the one that came; None where the text took another turn before."""

    @property
    def accepted(self) -> int:
        """Draft tokens that were committed."""
        return min(self.verified, self.committed - 1)


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


@dataclass(slots=True)
class StepCosts:
    """Costs of one step in seconds, all at the speed of calibration."""

    verify: list[float]
    """Target decode by number of tokens."""
    draft: list[float]
    """Draft decode by number of tokens; empty without a draft model."""
    base_tokens: int
    """Tokens of the step without any draft."""
    plain_seconds: float
    """A step in which each deciding sequence takes one token and nothing else happens."""
    max_tokens: int
    """Most tokens of the step."""
    return_seconds: float = 0.0
    """What any draft adds beside its tokens: the next plain step is dearer."""
    certain_seconds: float = 0.0
    """What `Others.certain` adds: no cost of drafting, and none of a plain step."""

    def seconds(self, num_drafted: int) -> float:
        """The step with so many draft tokens, without those that prefill would have cost anyway."""
        if not num_drafted:
            return self.plain_seconds
        extra = self.verify[self.base_tokens + num_drafted] - self.verify[self.base_tokens]
        return self.plain_seconds + extra + self.return_seconds


class Mode(NamedTuple):
    """Who drafts, and how many tokens for each sequence, for a stretch of steps."""

    drafter: DrafterName
    """"auto" for the one that promises more in each step."""
    k: int


PLAIN = Mode("none", 0)


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
    longest: int = 0
    """Most tokens of a model draft."""
    width: int | None = None
    """Draft tokens to which every draft is filled up, so that the batch keeps its shape; None leaves it free."""
    is_lockstep: bool = False
    """Whether all of the model's drafts take the length chosen, so that the draft's batches keep their shape, too."""
    mode: Mode = PLAIN
    """Where a change of shape costs something: the mode of the step."""
    other_sequences: int = 0
    """Sequences that share the step without being decided here."""
    is_probe: bool = False
    """Whether the model's token is only to be compared with what comes."""
    _taken: list[int] = field(default_factory=list)
    _alive: list[float] = field(default_factory=list)
    _total: int = 0
    _num_drafting: int = 0

    def __post_init__(self) -> None:
        self._taken = [0] * len(self.choices)
        self._alive = [1.0] * len(self.choices)
        self._total = self.costs.base_tokens + sum(choice.k for choice in self.choices)
        self._num_drafting = sum(choice.drafter == "model" for choice in self.choices)

    def take(self, index: int, confidence: float) -> Take:
        """Decide about the draft model's next token of ``requests[index]``, before it is drawn.

        ``confidence`` is the probability of the most probable token there. The token is taken where it, or a run
        that starts with it, is expected to save more time than it takes.
        """
        taken, choice = self._taken[index], self.choices[index]
        if self.is_probe:
            return Take.STOP
        if self.is_lockstep:
            self._taken[index] = taken + 1
            return Take.MORE if taken + 1 < choice.k else Take.LAST
        history = self.requests[index].history
        chance = self.rates.chance(history, confidence)
        run = self._best_run(index, self._alive[index] * chance)
        if run == 0:
            self._total -= max(0, choice.k - taken)
            self._num_drafting -= 1
            return Take.STOP
        self._taken[index], self._alive[index] = taken + 1, self._alive[index] * chance
        self._total += taken >= choice.k
        if run > 1:
            return Take.MORE
        self._total -= max(0, choice.k - taken - 1)
        self._num_drafting -= 1
        return Take.LAST

    def _best_run(self, index: int, alive: float) -> int:
        """How many more tokens pay, the one at hand being accepted with probability ``alive``: 0, 1, or a run."""
        request, taken = self.requests[index], self._taken[index]
        without = self._total - max(0, self.choices[index].k - taken)
        room = min(request.limit, self.longest) - taken
        # Sequences that draft together share the decodes.
        decode = self.costs.draft[self._num_drafting] / self._num_drafting
        rate, value = self.rates.model_rate(request.history), 0.0
        first = 0.0
        for run in range(1, room + 1):
            value += alive * self.seconds_per_token - self._verify(without + run) + self._verify(without + run - 1)
            if run == 1:
                first = value
            else:
                value -= decode
                if value > max(first, 0.0):
                    return run
            alive *= rate
        return int(first > 0.0)

    def _verify(self, num_tokens: int) -> float:
        """Seconds of the target; a batch that keeps its shape costs the same with fewer draft tokens."""
        if self.width is not None:
            return 0.0
        costs = self.costs
        if num_tokens == costs.base_tokens:
            return costs.verify[num_tokens]
        return costs.verify[min(num_tokens, costs.max_tokens)] + costs.return_seconds
