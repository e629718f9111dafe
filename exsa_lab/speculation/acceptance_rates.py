"""How likely the next draft tokens are to be accepted, from what happened to the last ones.

Everything here is a rate: accepted by tested, both decayed so that the recent past counts, with a prior that says
what to expect while little was seen. Each drafter has rates shared by all sequences, which are the prior of each
sequence's own.

* draft model: by place in the draft (1, 2, 3, 4 and later), and by confidence. The confidence of a draft model is
  the probability of its most probable token. It is calibrated: what counts is how often tokens of that confidence
  were accepted (compare DISCO, arXiv 2405.04304, which trains a classifier for that).
* n-gram: by match length. A token proposed after j accepted ones has a match that is j longer, so one table gives
  the whole draft: a coincidence dies at once, a copy lives on.

Both are calibrated against outcomes for each sequence as a whole, too: the odds are shifted by how its tokens did
against what was expected of them. A text that has been a copy so far goes on being one.

The confidence must be known before the token is drawn. Deciding by the drawn token's own probability whether it is
tested at all would bend the output's distribution under sampling.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, field

from exsa_lab.events import DraftReason

CONFIDENCE_EDGES = (0.2, 0.35, 0.5, 0.65, 0.8, 0.9, 0.95, 0.98, 0.995)
_CONFIDENCE_MIDDLES = (0.15, 0.28, 0.43, 0.58, 0.73, 0.85, 0.92, 0.96, 0.985, 0.995)
NUM_PLACES = 4
"""Places 1, 2, 3, and 4 and later."""
MATCH_EDGES = (3, 4, 6, 8, 12, 17, 25, 40)
"""First match length of each class after the first, which holds 2."""
_MATCH_PRIORS = (0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.87, 0.92, 0.95)
_LONGEST = 128
_MATCH_CLASS = [bisect_right(MATCH_EDGES, length) for length in range(_LONGEST)]

_SHARED_MEMORY = 0.998
_MATCH_MEMORY = 0.985
"""Of what lookup was worth, which depends on the kind of text more than on the models."""
_OWN_MEMORY = 0.98
_RECENT_MEMORY = 0.85
_RECENT_TESTS = (1 + _RECENT_MEMORY) / (1 - _RECENT_MEMORY)
"""Independent tests that the recent rate is worth."""
_IDLE_MEMORY = 0.95
"""Of a sequence's own rates, what one step leaves in which nothing was learned."""
_SHARED_STRENGTH = 4.0
_OWN_STRENGTH = 4.0
_OWN_MATCH_STRENGTH = 8.0
_COPY_MEMORY = 0.95
_COPY_STRENGTH = 8.0
_MOST_RATE = 0.985
_FIRST_RATE = 0.6


class Rates:
    """Accepted by tested in some classes, decayed by ``memory`` at each test of that class.

    A long memory is accurate and slow. Those that ``can_turn`` therefore also keep the last few tests by themselves,
    and where these differ from the long memory by more than chance allows, they replace it.
    """

    __slots__ = ("_can_turn", "_recent", "_recent_tested", "accepted", "memory", "tested")

    def __init__(self, num_classes: int, memory: float, *, can_turn: bool) -> None:
        self.accepted = [0.0] * num_classes
        self.tested = [0.0] * num_classes
        self.memory = memory
        self._can_turn = can_turn
        self._recent = [0.0] * num_classes
        self._recent_tested = [0.0] * num_classes

    def observe(self, index: int, accepted: float) -> None:
        """Count one test; ``accepted`` is 1, 0, or a probability where the outcome is only guessed."""
        self.accepted[index] = self.accepted[index] * self.memory + accepted
        self.tested[index] = self.tested[index] * self.memory + 1.0
        if self._can_turn:
            self._observe_recent(index, accepted)

    def _observe_recent(self, index: int, accepted: float) -> None:
        recent = self._recent[index] = self._recent[index] * _RECENT_MEMORY + accepted
        tested = self._recent_tested[index] = self._recent_tested[index] * _RECENT_MEMORY + 1.0
        if self.tested[index] > 2 * tested:
            rate = (self.accepted[index] + 0.5) / (self.tested[index] + 1.0)
            chance = math.sqrt(rate * (1.0 - rate) / _RECENT_TESTS)
            if abs(recent / tested - rate) > 2.5 * chance + 0.15:
                self.accepted[index], self.tested[index] = recent, tested

    def rate(self, index: int, prior: float, strength: float) -> float:
        """Return the posterior mean: the prior counts as ``strength`` tests."""
        return (self.accepted[index] + strength * prior) / (self.tested[index] + strength)

    def age(self, index: int, factor: float) -> None:
        """Make what was seen in one class count less."""
        for values in (self.accepted, self.tested, self._recent, self._recent_tested):
            values[index] *= factor

    def age_all(self, factor: float) -> None:
        """Make all that was seen count less."""
        for index in range(len(self.tested)):
            self.age(index, factor)


@dataclass(slots=True)
class DraftHistory:
    """One sequence's own rates. Create it with `AcceptanceEstimate.new_history`."""

    places: Rates = field(default_factory=lambda: Rates(NUM_PLACES, _OWN_MEMORY, can_turn=True))
    matches: Rates = field(default_factory=lambda: Rates(len(_MATCH_PRIORS), _OWN_MEMORY, can_turn=True))
    overall: Rates = field(default_factory=lambda: Rates(2, _OWN_MEMORY, can_turn=True))
    """Of the draft model: what came (0) and what the calibrated confidence had said (1)."""
    lookups: Rates = field(default_factory=lambda: Rates(2, _COPY_MEMORY, can_turn=False))
    """Of lookup: what came (0) and what the match lengths had said (1)."""
    idle: int = 0
    """Steps since the draft model was last tested on this sequence."""
    copied: int = 0
    """Tokens in a row up to now that lookup would have had right."""
    on_paper: int | None = None
    """Tokens that were right so far of a lookup that is made on paper only (draft_accounts.py)."""
    lost_match: int = 0
    """Longest match that was weighed and found not worth a draft."""
    match_rest: int = 0
    """Steps for which matches up to that length need not be weighed again."""
    why_plain: DraftReason = DraftReason.NOT_WORTH_IT
    """Why it was not drafted for when that was last weighed."""


class AcceptanceEstimate:
    """Rates of both drafters, shared by all sequences. Owned by the engine thread.

    Example:
        >>> estimate = AcceptanceEstimate()
        >>> history = estimate.new_history()
        >>> for _ in range(50): estimate.observe_model(history, [0.9, 0.9], accepted=2)
        >>> estimate.model_survival(history, 2)[1] > 0.8
        True
    """

    def __init__(self) -> None:
        self._confidence = Rates(len(_CONFIDENCE_MIDDLES), _SHARED_MEMORY, can_turn=False)
        self._places = Rates(NUM_PLACES, _SHARED_MEMORY, can_turn=False)
        self._matches = Rates(len(_MATCH_PRIORS), _MATCH_MEMORY, can_turn=False)
        self._shared: list[float] = []

    def new_history(self) -> DraftHistory:
        """Start a sequence: it knows what the others have seen."""
        return DraftHistory()

    # Draft model

    def observe_model(self, history: DraftHistory, confidences: Sequence[float | None], accepted: int) -> None:
        """Learn from one verified draft: its confidences, and how many tokens were accepted.

        Tokens after the first refused one were never tested and say nothing.
        """
        tested = confidences[: accepted + 1]
        for place, confidence in enumerate(tested):
            self.observe_token(history, place, confidence, place < accepted)
        # What was seen at later places ages meanwhile: a few bad drafts must not forbid long ones for ever.
        for place in range(len(tested), NUM_PLACES):
            history.places.age(place, _IDLE_MEMORY)

    def observe_token(self, history: DraftHistory, place: int, confidence: float | None, is_right: bool) -> None:
        """Learn from one draft token at ``place`` (from 0), verified or only compared with what came."""
        outcome = float(is_right)
        self._observe_place(history, place, outcome)
        if confidence is None:
            return
        said = self.calibrated(confidence)
        self._confidence.observe(bisect_right(CONFIDENCE_EDGES, confidence), outcome)
        history.overall.observe(0, outcome)
        history.overall.observe(1, said)

    def observe_guess(self, history: DraftHistory, place: int, confidence: float) -> None:
        """Learn from a draft token whose outcome stays unknown: its calibrated confidence stands in for it."""
        self._observe_place(history, place, self.calibrated(confidence))

    def calibrated(self, confidence: float) -> float:
        """How often tokens of this confidence were accepted; the confidence itself while nothing was seen."""
        index = bisect_right(CONFIDENCE_EDGES, confidence)
        return self._confidence.rate(index, _CONFIDENCE_MIDDLES[index], _SHARED_STRENGTH)

    def chance(self, history: DraftHistory, confidence: float) -> float:
        """Probability that this sequence's token of this confidence is accepted.

        The calibrated confidence, with its odds shifted by how this sequence has lately done against it. Where
        confidence says nothing this is the sequence's own rate, and where it says all there is no shift.
        """
        calibrated = self.calibrated(confidence)
        if not history.overall.tested[0]:
            return calibrated
        odds = _odds(calibrated) * _shift(history.overall, _OWN_STRENGTH, _IDLE_MEMORY**history.idle)
        return odds / (1.0 + odds)

    def model_survival(self, history: DraftHistory, max_tokens: int) -> list[float]:
        """Probability that the first 1, 2, ... max_tokens draft tokens are all accepted. Never rises."""
        rates = self.place_rates(history)
        survival, alive = [], 1.0
        for place in range(max_tokens):
            alive *= rates[place] if place < NUM_PLACES else rates[-1]
            survival.append(alive)
        return survival

    def place_rates(self, history: DraftHistory) -> list[float]:
        """Acceptance at each place given that all before it were accepted."""
        own, fade = history.places, _IDLE_MEMORY**history.idle
        shared = self._shared_places()
        rates: list[float] = []
        rate = shared[0]
        for place in range(NUM_PLACES):
            prior = (shared[place] + rate) / 2
            seen = own.tested[place] * fade
            rate = (own.accepted[place] * fade + _OWN_STRENGTH * prior) / (seen + _OWN_STRENGTH)
            rates.append(rate)
        return rates

    def _shared_places(self) -> list[float]:
        """Acceptance at each place over all sequences; kept until something is learned."""
        if not self._shared:
            rate = _FIRST_RATE
            for place in range(NUM_PLACES):
                rate = self._places.rate(place, rate, _SHARED_STRENGTH)
                self._shared.append(rate)
        return self._shared

    def _observe_place(self, history: DraftHistory, place: int, outcome: float) -> None:
        index = min(place, NUM_PLACES - 1)
        if history.idle:
            history.places.age_all(_IDLE_MEMORY**history.idle)
            history.overall.age_all(_IDLE_MEMORY**history.idle)
            history.idle = 0
        history.places.observe(index, outcome)
        self._places.observe(index, outcome)
        self._shared.clear()

    # N-gram

    def observe_ngram(self, history: DraftHistory, match_length: int, is_right: bool) -> None:
        """Learn from one looked-up token, drafted or only compared with what came (`NgramIndex.learn`)."""
        index = _MATCH_CLASS[min(match_length, _LONGEST - 1)]
        outcome = float(is_right)
        history.lookups.observe(0, outcome)
        history.lookups.observe(1, self._matches.rate(index, _MATCH_PRIORS[index], _SHARED_STRENGTH))
        history.matches.observe(index, outcome)
        self._matches.observe(index, outcome)

    def ngram_survival(self, history: DraftHistory, match_length: int, max_tokens: int) -> list[float]:
        """Like `model_survival`, for a proposal whose match is ``match_length`` tokens long."""
        own, shared = history.matches, self._matches
        shift = _shift(history.lookups, _COPY_STRENGTH)
        rates: dict[int, float] = {}
        survival, alive = [], 1.0
        for length in range(match_length, match_length + max_tokens):
            index = _MATCH_CLASS[length if length < _LONGEST else -1]
            rate = rates.get(index)
            if rate is None:
                prior = shared.rate(index, _MATCH_PRIORS[index], _SHARED_STRENGTH)
                odds = _odds(own.rate(index, prior, _OWN_MATCH_STRENGTH)) * shift
                rate = rates[index] = min(_MOST_RATE, odds / (1.0 + odds))
            alive *= rate
            survival.append(alive)
        return survival


def _shift(overall: Rates, strength: float, fade: float = 1.0) -> float:
    """Factor of the odds: how a sequence did (class 0) against what was expected of it (class 1), faded."""
    tested = overall.tested[0] * fade
    if not tested:
        return 1.0
    expected = overall.accepted[1] / overall.tested[1]
    actual = (overall.accepted[0] * fade + strength * expected) / (tested + strength)
    return _odds(actual) / _odds(expected)


def _odds(probability: float) -> float:
    probability = min(0.999, max(0.001, probability))
    return probability / (1.0 - probability)
