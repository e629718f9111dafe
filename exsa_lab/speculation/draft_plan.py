"""What goes in and out of the draft length policy for one step."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

from exsa_lab.config import MAX_DRAFT_LENGTH, DrafterName
from exsa_lab.events import DraftReason
from exsa_lab.speculation.acceptance_rates import DraftHistory
from exsa_lab.speculation.goodput import SMALL, StepCosts

if TYPE_CHECKING:
    from exsa_lab.speculation.draft_length import DraftLengthPolicy


@dataclass(slots=True)
class DraftRequest:
    """What the policy must know of one decoding sequence with ``draft_length="auto"``."""

    history: DraftHistory
    drafter: DrafterName = "auto"
    limit: int = MAX_DRAFT_LENGTH
    """Most draft tokens it can use: what it may still generate less one, and room in the context."""
    ngram_tokens: int = 0
    """Length of the n-gram proposal, 0 for none."""
    match_length: int = 0
    draft_lag: int = 1
    """Tokens of the sequence that the draft's cache lacks, the last committed one included."""
    worth: float = 1.0
    """What a token of it, committed early, is worth, in mean tokens of a plain step (token_worth.py)."""


@dataclass(frozen=True, slots=True)
class Choice:
    """One sequence's draft in one step: who drafts, how many tokens, and why."""

    drafter: DrafterName
    k: int
    reason: DraftReason


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one sequence's draft."""

    accepted: int = 0
    """Draft tokens that were committed."""
    verified: int = 0
    """Draft tokens that took part in the verification."""
    confidences: tuple[float | None, ...] = ()
    """Draft model: confidence of each verified token, where it was asked for. N-gram drafts are learned from
    `NgramIndex.learn` instead."""
    peeked: float | None = None
    """Draft model: confidence of the token that was looked at and not taken."""
    peeked_right: bool | None = None
    """Whether that token is the one that came; None where the text took another turn before, or nobody compared."""
    copied: int = 0
    """Committed tokens that lookup would have had right, whoever drafted."""


class Take(Enum):
    """What to do with the token a draft model would draw next."""

    STOP = "leave it and stop"
    LAST = "take it and stop"
    MORE = "take it and draft on"


class StepPlan:
    """The choices of one step, and the running decisions while the draft model drafts.

    ``choices[i]`` belongs to ``requests[i]``. For a model draft, ``k`` is what is expected to pay; ask `take` before
    each token is drawn, which may end the draft sooner or let it run longer.
    """

    keeps_shape = False
    """Whether the shape of the batch is part of the plan."""
    width = 0
    """Tokens to which every draft is then filled up."""

    def __init__(
        self,
        policy: DraftLengthPolicy,
        requests: Sequence[DraftRequest],
        choices: list[Choice],
        costs: StepCosts,
        tokens_per_second: float,
        longest: int,
        model_rest: int = 0,
    ) -> None:
        self.requests = requests
        self.choices = choices
        self.costs = costs
        self.tokens_per_second = tokens_per_second
        """The price of time: what the step is expected to earn."""
        self.longest = longest
        """Most tokens of a model draft."""
        self.model_rest = model_rest
        """Steps for which the draft model need not be weighed again, since it lost."""
        self._policy = policy
        self._planned = [choice.k for choice in choices]
        self._taken = [0] * len(choices)
        self._alive = [request.worth for request in requests]
        self._rates: list[list[float]] = [[] for _ in choices]
        self._total = costs.base_tokens + sum(self._planned)
        self._num_drafting = sum(choice.drafter == "model" and choice.k > 0 for choice in choices)

    def take(self, index: int, confidence: float) -> Take:
        """Decide about the draft model's next token of ``requests[index]``, before it is drawn.

        ``confidence`` is the probability of the most probable token there. The token is taken where it, or a run
        that starts with it, is expected to bring more than it costs at the price of time of this step.
        """
        taken = self._taken[index]
        if not self._rates[index]:
            self._rates[index] = self._policy.estimate.place_rates(self.requests[index].history)
        alive = self._alive[index] * self._policy.estimate.chance(self.requests[index].history, confidence)
        run = self._best_run(index, alive)
        if run <= 1:
            self._num_drafting -= 1
        if run == 0:
            self._replan(index, taken)
            return Take.STOP
        self._taken[index], self._alive[index] = taken + 1, alive
        if run == 1:
            self._replan(index, taken + 1)
            return Take.LAST
        self._replan(index, max(self._planned[index], taken + run))
        return Take.MORE

    def _best_run(self, index: int, alive: float) -> int:
        """How many more tokens pay, the one at hand being accepted with probability ``alive``: 0, 1, or a run."""
        request, taken = self.requests[index], self._taken[index]
        without = self._total - self._planned[index] + taken
        room = min(request.limit - taken, self.longest - taken, self.costs.max_tokens - without)
        verify, price = self.costs.verify, self.tokens_per_second
        first_one = self.costs.return_seconds if without == self.costs.base_tokens else 0.0
        # Sequences that draft together share the decodes.
        decode = self.costs.draft[self._num_drafting] / self._num_drafting
        rates = self._rates[index]
        first, best_run = 0.0, 0
        gain = 0.0
        for run in range(1, room + 1):
            gain += alive
            value = gain - price * (verify[without + run] - verify[without] + first_one + (run - 1) * decode)
            if run == 1:
                first = max(0.0, value)
                best_run = int(value > 0.0)
            elif value > first:
                return run
            alive *= rates[min(taken + run, len(rates) - 1)]
            if alive < SMALL:
                break
        return best_run

    def _replan(self, index: int, length: int) -> None:
        self._total += length - self._planned[index]
        self._planned[index] = length
