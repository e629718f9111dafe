"""What drafting would gain if acceptance, draft length, draft cost or batch were others: the formula, with knobs.

The page of `exsa_lab.explore` computes the same in JavaScript (`widgets/explore_model.js`); both are tested against the
same numbers.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from exsa_lab.config import MAX_DRAFT_LENGTH
from exsa_lab.costs.model import CostModel
from exsa_lab.trace.break_even import acceptance_for, expected_tokens


@dataclass(frozen=True, slots=True)
class WhatIf:
    """One setting of the knobs.

    Example::

        WhatIf(engine.costs, acceptance=0.7, draft_length=4).speed_up
    """

    costs: CostModel
    acceptance: float
    """Probability that a draft token is accepted where all before it were: the same at every place."""
    draft_length: int
    draft_cost: float | None = None
    """One decode of the draft, in decodes of one token of the target; None: as measured, 0 where there is no draft."""
    num_sequences: int = 1
    """How many decode at once, each with its own draft."""

    @property
    def tokens_per_round(self) -> float:
        """Of one sequence."""
        return expected_tokens(self.acceptance, self.draft_length)

    @property
    def verify_seconds(self) -> float:
        """One decode of the target for all tokens of all sequences."""
        return self.costs.step_seconds(self.num_sequences * (1 + self.draft_length), self.num_sequences)

    @property
    def draft_seconds(self) -> float:
        """All decodes of the draft in a round; each has one token of each sequence, and the first takes longer."""
        costs = self.costs
        if not self.draft_length:
            return 0.0
        cost = own_draft_cost(costs) if self.draft_cost is None else self.draft_cost
        grows = costs.draft(self.num_sequences) / costs.draft(1) if costs.draft else 1.0
        return (self.draft_length + draft_start(costs)) * cost * costs.step_seconds(1) * grows

    @property
    def plain_seconds(self) -> float:
        """One step without drafts."""
        return self.costs.step_seconds(self.num_sequences, self.num_sequences)

    @property
    def round_cost(self) -> float:
        """A round in plain steps, which is also the number of tokens it has to give to break even."""
        return (self.verify_seconds + self.draft_seconds) / self.plain_seconds

    @property
    def speed_up(self) -> float:
        """Expected speed against plain decoding."""
        return self.tokens_per_round / self.round_cost

    @property
    def best_length(self) -> int:
        """The draft length with the largest speed-up; 0 where none pays."""
        lengths = range(MAX_DRAFT_LENGTH + 1)
        return max(lengths, key=lambda k: (replace(self, draft_length=k).speed_up, -k))

    @property
    def break_even(self) -> float | None:
        """The acceptance from which this draft length pays; None where not even 1 is enough."""
        return acceptance_for(self.round_cost, self.draft_length)


def own_draft_cost(costs: CostModel) -> float:
    """One decode of the draft in single-token decodes of the target; 0 where there is no draft model."""
    return costs.draft_seconds(1) / costs.step_seconds(1) if costs.draft else 0.0


def draft_start(costs: CostModel) -> float:
    """What the first decode of a draft takes beyond another one, in decodes of the draft; 0 where there is no draft."""
    return costs.draft_start_seconds / costs.draft(1) if costs.draft else 0.0
