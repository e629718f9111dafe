"""The bound on what drafting can lose against plain decoding."""

from __future__ import annotations

import math

from exsa_lab.config import DrafterName

SHARE = 0.01
"""Share of the time that each drafter may lose for good."""
ALLOWANCE = 6.0
"""Plain steps that each drafter may lose beyond that, once in the life of an engine."""
MOST = 4.0
"""Allowances that a drafter can save up: what a sudden turn of the text may cost."""


class LossGuard:
    """Lets no drafter lose more than 1 % of the time and a fixed allowance. Owned by the policy.

    For each drafter it keeps what may still be lost, in plain steps: 1 % of the time that passes, plus what drafted
    steps really gained, less what they lost. A draft is made only where the balance covers the case that all of it is
    refused. A step of n sequences counts for sqrt(n) steps of one: its outcome varies less by that factor, so a batch
    needs less room for bad luck.

    ``allowance`` is what a drafter may lose before it has gained anything.
    """

    def __init__(self, allowance: float = ALLOWANCE) -> None:
        self._most = MOST * allowance
        self.balance: dict[DrafterName, float] = {"ngram": allowance, "model": allowance}

    def covers(self, drafter: DrafterName, loss: float, num_sequences: int = 1) -> bool:
        """Whether the drafter may risk so many plain steps of so many sequences."""
        return self.balance[drafter] >= loss * math.sqrt(num_sequences)

    def pass_time(self, steps: float, num_sequences: int = 1) -> None:
        """The time of so many plain steps passed."""
        for drafter in self.balance:
            self.settle(drafter, SHARE * steps, num_sequences)

    def settle(self, drafter: DrafterName, gain: float, num_sequences: int = 1) -> None:
        """The drafter gained so many plain steps, or lost them where negative."""
        self.balance[drafter] = min(self._most, self.balance[drafter] + gain * math.sqrt(num_sequences))
