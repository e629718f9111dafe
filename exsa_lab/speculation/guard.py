"""The bound on what drafting can lose against plain decoding."""

from __future__ import annotations

import math

SHARE = 0.01
"""Share of the time that drafting may lose for good."""
ALLOWANCE = 6.0
"""Plain steps that it may lose beyond that, once in the life of an engine."""
MOST = 2.0
"""Allowances that it can save up: what a sudden turn of the text may cost."""


class LossGuard:
    """Lets drafting lose no more than 1 % of the time and a fixed allowance. Owned by the policy.

    It keeps what may still be lost, in plain steps: 1 % of the time that passes, plus what drafted steps really gained,
    less what they lost. A draft is made only where the balance covers the case that all of it is refused. A step of n
    sequences counts for sqrt(n) steps of one: its outcome varies less by that factor, so a batch needs less room for
    bad luck.

    ``allowance`` is what may be lost before anything was gained.
    """

    def __init__(self, allowance: float = ALLOWANCE) -> None:
        self._most = MOST * allowance
        self.balance = allowance

    def covers(self, loss: float, num_sequences: int = 1) -> bool:
        """Whether so many plain steps of so many sequences may be risked."""
        return self.balance >= loss * math.sqrt(num_sequences)

    def pass_time(self, steps: float, num_sequences: int = 1) -> None:
        """The time of so many plain steps passed."""
        self.settle(SHARE * steps, num_sequences)

    def settle(self, gain: float, num_sequences: int = 1) -> None:
        """So many plain steps were gained, or lost where negative."""
        self.balance = min(self._most, self.balance + gain * math.sqrt(num_sequences))
