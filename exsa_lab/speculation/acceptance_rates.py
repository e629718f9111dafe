"""How likely the next draft tokens are to be accepted, learned from what happened to the last ones.

All sequences share two tables: acceptance by the draft model's confidence (the probability of its most probable
token) and by the length of a lookup's match. A table is the prior; each sequence has a record of how its tokens did
against that prior, which shifts the odds (log odds add up, so that a sequence whose draft is better than usual is
better at every confidence). A looked-up token proposed after j accepted ones has a match that is j longer, so the one
table gives the survival of a whole proposal: a coincidence dies at once, a copy goes on.

The confidence is known before a token is drawn. Deciding by the drawn token's own probability whether it is tested at
all would bend the output's distribution under sampling.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, field

CONFIDENCE_EDGES = (0.2, 0.35, 0.5, 0.65, 0.8, 0.9, 0.95, 0.98, 0.995)
_CONFIDENCE_PRIORS = (0.15, 0.28, 0.43, 0.58, 0.73, 0.85, 0.92, 0.96, 0.985, 0.995)
MATCH_EDGES = (3, 4, 6, 8, 12, 17, 25, 40)
"""First match length of each class after the first, which holds 2."""
_MATCH_PRIORS = (0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.87, 0.92, 0.95)
_MODEL_PRIOR = 0.6
"""Acceptance of a small draft model on chat: of the default pair's first tokens 0.61 are accepted."""

SHARED_MEMORY = 0.99
"""Of a table, what the next test of a class leaves: some hundred tests count."""
OWN_MEMORY = 0.95
"""Of a sequence's record: some twenty tokens count, as texts change their kind within a paragraph."""
PRIOR_TESTS = 4.0
"""Tests that a prior counts for."""
_MOST = 0.985
"""No token is surer than this."""


class RateTable:
    """Accepted by tested in classes, each with a prior. Old tests fade."""

    def __init__(self, priors: Sequence[float]) -> None:
        self._accepted = [PRIOR_TESTS * prior for prior in priors]
        self._tested = [PRIOR_TESTS] * len(priors)

    def rate(self, index: int) -> float:
        return self._accepted[index] / self._tested[index]

    def observe(self, index: int, is_right: bool) -> None:
        self._accepted[index] = self._accepted[index] * SHARED_MEMORY + is_right
        self._tested[index] = self._tested[index] * SHARED_MEMORY + 1.0


@dataclass(slots=True)
class OwnRecord:
    """How one sequence's proposed tokens did, and how they were expected to do."""

    accepted: float = 0.0
    expected: float = 0.0
    tested: float = 0.0

    def observe(self, expected: float, is_right: bool) -> None:
        self.accepted = self.accepted * OWN_MEMORY + is_right
        self.expected = self.expected * OWN_MEMORY + expected
        self.tested = self.tested * OWN_MEMORY + 1.0

    def rate(self, prior: float) -> float:
        """Acceptance of this sequence, whatever its tokens were expected to do."""
        return (self.accepted + PRIOR_TESTS * prior) / (self.tested + PRIOR_TESTS)

    @property
    def shift(self) -> float:
        """Factor of the odds: what came against what was expected."""
        if not self.tested:
            return 1.0
        expected = self.expected / self.tested
        return _odds(self.rate(expected)) / _odds(expected)


@dataclass(slots=True)
class DraftHistory:
    """One sequence's records: of the draft model, and of lookup."""

    model: OwnRecord = field(default_factory=OwnRecord)
    lookup: OwnRecord = field(default_factory=OwnRecord)


class AcceptanceRates:
    """The tables that all sequences share. Owned by the engine thread.

    Example:
        >>> rates, history = AcceptanceRates(), DraftHistory()
        >>> for _ in range(50): rates.observe_model(history, [0.9, 0.9], accepted=2)
        >>> rates.model_rate(history) > 0.9
        True
    """

    def __init__(self) -> None:
        self._model = RateTable([_MODEL_PRIOR])
        self._confidence = RateTable(_CONFIDENCE_PRIORS)
        self._match = RateTable(_MATCH_PRIORS)

    # Draft model

    def observe_model(self, history: DraftHistory, confidences: Sequence[float | None], accepted: int) -> None:
        """Learn from a draft: the confidence of each token (None where nobody asked) and how many were accepted.

        Tokens after the first refused one were never tested and say nothing.
        """
        for place, confidence in enumerate(confidences[: accepted + 1]):
            self.observe_token(history, confidence, place < accepted)

    def observe_token(self, history: DraftHistory, confidence: float | None, is_right: bool) -> None:
        """Learn from one token of the draft model, verified or only compared with what came."""
        self._model.observe(0, is_right)
        if confidence is None:
            history.model.observe(self._model.rate(0), is_right)
            return
        index = bisect_right(CONFIDENCE_EDGES, confidence)
        history.model.observe(self._confidence.rate(index), is_right)
        self._confidence.observe(index, is_right)

    def model_rate(self, history: DraftHistory) -> float:
        """Acceptance of the sequence's next draft token while its confidence is not known."""
        return min(_MOST, history.model.rate(self._model.rate(0)))

    def chance(self, history: DraftHistory, confidence: float) -> float:
        """Acceptance of a token of this confidence."""
        return _shifted(self._confidence.rate(bisect_right(CONFIDENCE_EDGES, confidence)), history.model.shift)

    def model_survival(self, history: DraftHistory, max_tokens: int) -> list[float]:
        """Probability that the first 1, 2, ... max_tokens draft tokens are all accepted."""
        rate = self.model_rate(history)
        return [rate**place for place in range(1, max_tokens + 1)]

    # Lookup

    def observe_lookup(self, history: DraftHistory, outcomes: Sequence[tuple[int, bool]]) -> None:
        """Learn from (match length, whether the proposed token came), drafted or not: see `NgramIndex.learn`."""
        for match_length, is_right in outcomes:
            index = bisect_right(MATCH_EDGES, match_length)
            history.lookup.observe(self._match.rate(index), is_right)
            self._match.observe(index, is_right)

    def lookup_survival(self, history: DraftHistory, match_length: int, max_tokens: int) -> list[float]:
        """Like `model_survival`, for a proposal whose match is ``match_length`` tokens long."""
        shift = history.lookup.shift
        survival, alive, rate, last = [], 1.0, 0.0, -1
        for length in range(match_length, match_length + max_tokens):
            index = bisect_right(MATCH_EDGES, length)
            if index != last:
                rate, last = _shifted(self._match.rate(index), shift), index
            alive *= rate
            survival.append(alive)
        return survival


def _shifted(rate: float, shift: float) -> float:
    odds = _odds(rate) * shift
    return min(_MOST, odds / (1.0 + odds))


def _odds(probability: float) -> float:
    probability = min(0.999, max(0.001, probability))
    return probability / (1.0 - probability)
