"""What each drafter may still lose: it can only ever make decoding slower by what is in its account."""

from __future__ import annotations

import math
from collections.abc import Sequence

from exsa_lab.config import DrafterName
from exsa_lab.speculation.draft_plan import Outcome, StepPlan

SHARE = 0.005
"""Share of the time that each drafter may lose for good."""
FIRST_CREDIT = 5.0
"""Plain steps that each drafter may lose before it earned any, once in the life of an engine; and the most that another
text begins with, which may be of another kind."""
MAX_CREDIT = 24.0
"""Most plain steps that a drafter can save up: what a sudden turn of the text may cost."""

PAPER_TOKENS = 7
"""Length of the drafts that lookup makes on paper where its stake covers none; eight tokens are verified cheaply."""
PAPER_GAIN = 3.0
"""Plain steps it must gain on paper for credit."""


class Accounts:
    """One account for each drafter, in plain steps of one sequence. Owned by the policy.

    A batch's outcomes vary less than those of a single sequence, by the square root of their number, so it can do
    with less: its steps are entered at `_weight`.
    """

    def __init__(self) -> None:
        self.balance: dict[DrafterName, float] = {"model": FIRST_CREDIT, "ngram": FIRST_CREDIT}
        self._paper = 0.0

    def new_text(self) -> None:
        """Another text begins: what was saved up on the last one says little of it."""
        for name, balance in self.balance.items():
            self.balance[name] = min(FIRST_CREDIT, balance)
        self._paper = min(0.0, self._paper)

    def trade_on_paper(self, gain: float) -> None:
        """Enter what a draft that was only thought of would have gained, in plain steps; enough of it is credit."""
        self._paper = max(-FIRST_CREDIT, self._paper + gain)
        if self._paper >= PAPER_GAIN:
            balance = self.balance["ngram"]
            self.balance["ngram"] = max(balance, min(FIRST_CREDIT, max(0.0, balance) + self._paper))
            self._paper = 0.0

    def steps(self, drafter: DrafterName, num_sequences: int) -> float:
        """The account in plain steps of so many sequences; overdrawn below 0."""
        return self.balance[drafter] / _weight(num_sequences)

    def stake(self, drafter: DrafterName, num_sequences: int) -> float:
        """Plain steps this drafter may lose in one step, so that a few failures in a row do not empty its account."""
        steps = self.steps(drafter, num_sequences)
        return 1.0 + steps / 2 if steps > 0 else 0.0

    def rest(self, num_sequences: int) -> None:
        """Enter a plain step."""
        earned = SHARE * _weight(num_sequences)
        for name, balance in self.balance.items():
            self.balance[name] = min(MAX_CREDIT, balance + earned)

    def settle(self, plan: StepPlan, outcomes: Sequence[Outcome], draft_seconds: float, surcharge: float = 1.0) -> None:
        """Enter a step: what its draft tokens brought, and what they cost, against a plain step.

        By ``surcharge`` a step with a draft is dearer than the costs say.
        """
        if not plan.requests:
            return
        costs, num = plan.costs, len(plan.requests)
        drafted, accepted = dict.fromkeys(self.balance, 0), dict.fromkeys(self.balance, 0.0)
        for request, choice, outcome in zip(plan.requests, plan.choices, outcomes, strict=True):
            if choice.drafter in drafted:
                drafted[choice.drafter] += outcome.verified
                accepted[choice.drafter] += outcome.accepted * request.worth
        total = sum(drafted.values())
        draft = draft_seconds / costs.plain_seconds
        verify = costs.verify_seconds(total) / costs.plain_seconds
        extra = (surcharge - 1.0) * (1.0 + verify + draft) if total or draft else 0.0
        for name, balance in self.balance.items():
            earned = SHARE * (1.0 + verify + draft) + accepted[name] / num
            spent = verify * drafted[name] / max(1, total) + (draft if name == "model" else 0.0)
            spent += extra * (drafted[name] / total if total else float(name == "model"))
            self.balance[name] = min(MAX_CREDIT, balance + (earned - spent) * _weight(num))


def _weight(num_sequences: int) -> float:
    """What a plain step of a batch counts for in the accounts.

    Less than the square root: where only drafts of all sequences at once win, one trial takes many plain steps.
    """
    return max(1.0, 0.6 * math.sqrt(num_sequences))
