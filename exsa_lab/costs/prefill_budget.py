"""How many prompt tokens may share a step with sequences that decode, so that a long prompt never stalls them.

Decoding together with prefill makes every reader wait longer for the next token. How much longer cannot be told from
the cost of a step of that many tokens alone: attention to a prompt grows with what is computed of it already, which
for a small model is soon most of the work. So the budget follows what steps really took, as a feedback loop:

    tokens = (DECODE_STRETCH - 1) * seconds of a step that only decodes / seconds each prompt token adds

Where more wait for a first token than decode, it is as many times as large: to hold fifteen back lest one reads slower
would delay all of them, and the steps of the few would be nearly as dear as those of all together.

Chunked prefill beside decode is that of Sarathi-Serve (Agrawal et al. 2024, arXiv 2403.02310), which fixes the number
of tokens; here the latency is fixed instead.
"""

from __future__ import annotations

from exsa_lab.costs.model import CostModel

DECODE_STRETCH = 2.7
"""How many times as long as decoding alone a step may take when prefill shares it."""
UNMEASURED_TOKENS = 32
"""Prefill tokens beside decode until anything is known."""

_GAIN = 0.3
_MOST_SURPRISE = 2.0
"""What took longer than this many times the usual counts as this many: it is another program's doing."""


class PrefillBudget:
    """Learns from every step; owned by the engine thread.

    ``costs`` is what was measured at load, None where nothing was. A ``fixed`` number of tokens (1 or more) is the
    user's own and ends the matter; ``most`` is the budget of a whole step.
    """

    def __init__(self, costs: CostModel | None, *, most: int, fixed: int = 0) -> None:
        self._costs = costs
        self._most = most
        self._fixed = fixed
        self._alone: dict[int, float] = {}
        """Seconds of a step that only decodes, by number of sequences."""
        self._per_token: float | None = None
        """Seconds each prompt token lately added to a step that decodes too."""

    def tokens(self, num_decoding: int, num_waiting: int = 1) -> int:
        """Return the most prefill tokens, at least 1, for a step in which ``num_decoding`` sequences decode.

        ``num_waiting`` sequences could go on once their prompts were read.
        """
        if self._fixed:
            return self._fixed
        alone = self._seconds_alone(num_decoding)
        per_token = self._per_token if self._per_token is not None else self._expected_per_token(num_decoding)
        if alone is None or per_token is None:
            return min(self._most, UNMEASURED_TOKENS)
        affordable = int((DECODE_STRETCH - 1) * max(1, num_waiting / num_decoding) * alone / per_token)
        return min(self._most, max(1, affordable))  # however long it takes, a prompt must get on

    def observe(self, num_decoding: int, num_prefill: int, seconds: float) -> None:
        """Learn what a step took that decoded for so many sequences beside so many prefill tokens."""
        if not num_decoding or seconds <= 0:
            return
        alone = self._seconds_alone(num_decoding)
        if not num_prefill:
            self._alone[num_decoding] = _towards(self._alone.get(num_decoding), seconds)
        elif alone is not None:
            # Never nothing: where prefill is free, tokens beyond the step's budget are of no use.
            added = max((seconds - alone) / num_prefill, alone / self._most**2)
            self._per_token = _towards(self._per_token, added)

    def _seconds_alone(self, num_decoding: int) -> float | None:
        """As seen; else as measured at load, scaled like the nearest number of sequences that was seen."""
        if num_decoding in self._alone:
            return self._alone[num_decoding]
        nearest = min(self._alone, key=lambda n: abs(n - num_decoding), default=None)
        if self._costs is None:
            return None if nearest is None else self._alone[nearest]
        measured = self._costs.step_seconds(num_decoding, num_decoding)
        if nearest is None:
            return measured
        return measured * self._alone[nearest] / self._costs.step_seconds(nearest, nearest)

    def _expected_per_token(self, num_decoding: int) -> float | None:
        if self._costs is None:
            return None
        together = self._costs.step_seconds(num_decoding + UNMEASURED_TOKENS, num_decoding)
        return max(together - self._costs.step_seconds(num_decoding, num_decoding), 1e-6) / UNMEASURED_TOKENS


def _towards(value: float | None, seen: float) -> float:
    return seen if value is None else value + _GAIN * (min(seen, _MOST_SURPRISE * value) - value)
