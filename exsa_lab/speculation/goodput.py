"""The search for the best draft lengths of one step: numbers in, numbers out."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

from exsa_lab.config import MAX_DRAFT_LENGTH

Item = tuple[float, int, int]
"""One possible draft token: its worth, negated to sort best first, its place in the draft, its sequence."""

_MOST_PLACES = MAX_DRAFT_LENGTH
SMALL = 0.02
"""Survival below which a draft token is not looked at."""
DOUBT = 0.4
"""Of what a looked-up token of a batch may miss to be certain, what is taken off again. The drafts of many sequences
are the best of many estimates, and the best are mostly too high. Counted for the six kinds of text of the benchmarks,
eight at once at four cost curves: none at all loses up to 0.015 where drafts hardly pay and 0.04 where they do. A draft
model's chances, which confidence tells apart again before each token, are taken as they are: doubted, drafts of a model
that is right 4 times of 5 would gain nothing in a batch of eight where 5 % are to be had."""
_CATCH_UP_STEPS = 32
"""Steps over which the draft's catch-up prefill is spread when deciding: who resumes drafting will go on with it."""


@dataclass(slots=True)
class Candidate:
    """One sequence's possible draft."""

    survival: list[float]
    """Probability that the first 1, 2, ... draft tokens are all accepted, times what a token is worth; empty where it
    cannot draft."""
    uses_model: bool
    """Whether tokens cost draft decodes; looked-up ones are free."""
    lag: int = 1
    """Tokens the draft must compute before its first own one."""


@dataclass(slots=True)
class StepCosts:
    """Costs of one step in seconds, all at the same common speed."""

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

    def draft_seconds(self, num_tokens: int) -> float:
        """A draft decode of any number of tokens; long ones, prefill, cost the same per token."""
        last = len(self.draft) - 1
        return self.draft[num_tokens] if num_tokens <= last else self.draft[last] * num_tokens / last

    def seconds(self, num_tokens: int, draft_seconds: float) -> float:
        """Seconds of the step without those that prefill would have cost anyway."""
        return self.plain_seconds + self.verify_seconds(num_tokens - self.base_tokens) + draft_seconds

    def verify_seconds(self, num_drafted: int) -> float:
        """What verifying draft tokens adds to the step."""
        if not num_drafted:
            return 0.0
        return self.verify[self.base_tokens + num_drafted] - self.verify[self.base_tokens] + self.return_seconds


def doubted(survival: Sequence[float]) -> list[float]:
    """Return what the survival of one of many sequences' looked-up drafts is counted on for.

    Example:
        >>> [round(chance, 2) for chance in doubted([1.0, 0.5])]
        [1.0, 0.4]
    """
    return [chance * (1.0 - DOUBT * (1.0 - chance)) for chance in survival]


def best_lengths(candidates: Sequence[Candidate], costs: StepCosts) -> tuple[list[int], float]:
    """Return the draft lengths with the highest goodput, and that goodput in tokens per second.

    Draft tokens are taken one by one and the best stopping place is kept. In falling order of survival this is exact
    on any cost curve where draft tokens cost nothing. Draft models share their decodes, so going through them place
    by place may be better; both orders are tried.
    """
    if len(candidates) == 1:
        count, rate = _best_length(candidates[0], costs)
        return [count], rate
    num = len(candidates)
    num_model = sum(candidate.uses_model and bool(candidate.survival) for candidate in candidates)
    # A token's share of a draft decode, in tokens: what one of the model must be likelier by than a looked-up one.
    decode = costs.draft[num_model] / num_model * num / costs.plain_seconds if num_model else 0.0
    fees = [decode if candidate.uses_model else 0.0 for candidate in candidates]
    items = [
        (fees[index] - survival, place, index)
        for index, candidate in enumerate(candidates)
        for place, survival in enumerate(candidate.survival)
        if survival >= SMALL
    ]
    items.sort()
    count, rate = _best_count(items, candidates, costs)
    if num_model:
        in_step = _place_by_place(items, candidates)
        other_count, other_rate = _best_count(in_step, candidates, costs)
        if other_rate > rate:
            items, count, rate = in_step, other_count, other_rate
    lengths = [0] * num
    for _, _, index in items[:count]:
        lengths[index] += 1
    return lengths, rate


def _best_length(candidate: Candidate, costs: StepCosts) -> tuple[int, float]:
    """The search for a step of one sequence."""
    expected, best, best_count = 1.0, 1.0 / costs.plain_seconds, 0
    verify, base = costs.verify, costs.base_tokens
    seconds = costs.seconds(base, costs.return_seconds + _catch_up(candidate, costs)) - verify[base]
    decode = costs.draft[1] if candidate.uses_model else 0.0
    for count, survival in enumerate(candidate.survival[: costs.max_tokens - base], start=1):
        if survival < SMALL:
            break
        expected += survival
        seconds += decode
        rate = expected / (seconds + verify[base + count])
        if rate > best:
            best, best_count = rate, count
    return best_count, best


def _catch_up(candidate: Candidate, costs: StepCosts) -> float:
    """What the draft's lag costs, spread over the steps that profit from it."""
    if not candidate.uses_model or candidate.lag <= 1:
        return 0.0
    return (costs.draft_seconds(candidate.lag) - costs.draft[1]) / _CATCH_UP_STEPS


def _best_count(items: list[Item], candidates: Sequence[Candidate], costs: StepCosts) -> tuple[int, float]:
    """How many of the items to take, in their order, and the goodput that gives."""
    expected = float(len(candidates))
    best, best_count = expected / costs.plain_seconds, 0
    draft, verify, at = costs.draft, costs.verify, costs.base_tokens
    uses_model = [candidate.uses_model for candidate in candidates]
    catch_up = [_catch_up(candidate, costs) for candidate in candidates]
    drafting = [0] * (_MOST_PLACES + 1)
    seconds = costs.seconds(at, costs.return_seconds) - verify[at]
    survivals = [candidate.survival for candidate in candidates]
    for _, place, index in items[: costs.max_tokens - at]:
        at += 1
        expected += survivals[index][place]
        if uses_model[index]:
            num = drafting[place] = drafting[place] + 1
            seconds += draft[num] - draft[num - 1]
            if not place:
                seconds += catch_up[index]
        rate = expected / (seconds + verify[at])
        if rate > best:
            best, best_count = rate, at - costs.base_tokens
    return best_count, best


def _place_by_place(items: list[Item], candidates: Sequence[Candidate]) -> list[Item]:
    """The items in an order that keeps the model's tokens of one place together, among the looked-up ones."""
    uses_model = [candidate.uses_model for candidate in candidates]
    totals, counts = [0.0] * _MOST_PLACES, [0] * _MOST_PLACES
    for value, place, index in items:
        if uses_model[index]:
            totals[place] += value
            counts[place] += 1
    # Where few sequences go on, the mean of those may rise again: a later place never comes first.
    means = itertools.accumulate((total / max(1, count) for total, count in zip(totals, counts, strict=True)), max)
    levels = list(means)
    order = [(levels[item[1]] if uses_model[item[2]] else item[0], *item) for item in items]
    order.sort()
    return [(value, place, index) for _, value, place, index in order]


def token_price(costs: StepCosts, num_sequences: int) -> float:
    """What verifying one more draft token costs at best, in tokens of plain decoding.

    No draft whose first token is less likely to be accepted can pay.
    """
    extras = range(1, costs.max_tokens - costs.base_tokens + 1)
    cheapest = min((costs.verify_seconds(n) / n for n in extras), default=0.0)
    return cheapest * num_sequences / costs.plain_seconds


def worth(candidate: Candidate, costs: StepCosts, num_sequences: int, price: float) -> float:
    """What a draft is worth at `token_price`: to choose between two drafters of one of many sequences."""
    fee = price
    if candidate.uses_model:
        fee += costs.draft[num_sequences] / costs.plain_seconds
    best, value = -math.inf, 0.0
    for survival in candidate.survival:
        value += survival - fee
        best = max(best, value)
    return best


def perfect_gain(costs: StepCosts, num_sequences: int, longest: int, *, uses_model: bool) -> tuple[float, int]:
    """Return the best speed-up of drafts that are always right, and the shortest length that wins clearly.

    Either one sequence drafts or all do; 1.0 and 0 where no length wins.
    """
    best, shortest = 1.0, 0
    base = costs.base_tokens
    for drafting in {1, num_sequences}:
        for k in range(1, longest + 1):
            if base + k * drafting > costs.max_tokens:
                break
            draft_seconds = k * costs.draft[drafting] if uses_model else 0.0
            seconds = costs.seconds(base + k * drafting, draft_seconds)
            gain = (num_sequences + k * drafting) / num_sequences * costs.plain_seconds / seconds
            best = max(best, gain)
            if gain > 1.05 and (not shortest or k < shortest):
                shortest = k
    return best, shortest
