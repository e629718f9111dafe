"""The search for the best draft lengths of one step: numbers in, numbers out."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

SMALL = 0.02
"""Survival below which a draft token is not looked at."""
_CATCH_UP_STEPS = 32
"""Steps over which the draft's catch-up prefill is spread when deciding: who resumes drafting will go on with it."""


@dataclass(slots=True)
class Candidate:
    """One sequence's possible draft."""

    survival: list[float]
    """Probability that the first 1, 2, ... draft tokens are all accepted; empty where it cannot draft."""
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

    def seconds(self, num_tokens: int, draft_seconds: float) -> float:
        """Seconds of the step without those that prefill would have cost anyway."""
        return self.plain_seconds + self.verify[num_tokens] - self.verify[self.base_tokens] + draft_seconds


Item = tuple[float, int, int]
"""One possible draft token: the negated probability that it is reached and accepted, its place, its sequence."""


def best_lengths(candidates: Sequence[Candidate], costs: StepCosts) -> tuple[list[int], float]:
    """Return the draft lengths with the highest goodput, and that goodput in tokens per second.

    Draft tokens are taken one by one and the best stopping place is kept. In falling order of survival this is exact
    on any cost curve where draft tokens cost nothing. Draft models share their decodes, so going through them place
    by place may be better; both orders are tried.
    """
    items = [
        (-survival, place, index)
        for index, candidate in enumerate(candidates)
        for place, survival in enumerate(candidate.survival)
        if survival >= SMALL
    ]
    items.sort()
    count, rate = _best_count(items, candidates, costs)
    if len(candidates) > 1 and costs.draft:
        in_step = sorted(items, key=_place_by_place(items, candidates))
        other_count, other_rate = _best_count(in_step, candidates, costs)
        if other_rate > rate:
            items, count, rate = in_step, other_count, other_rate
    lengths = [0] * len(candidates)
    for _, _, index in items[:count]:
        lengths[index] += 1
    return lengths, rate


def _best_count(items: list[Item], candidates: Sequence[Candidate], costs: StepCosts) -> tuple[int, float]:
    """How many of the items to take, in their order, and the goodput that gives."""
    expected = float(len(candidates))
    best_rate, best_count = expected / costs.plain_seconds, 0
    draft, verify, base = costs.draft, costs.verify, costs.base_tokens
    seconds = costs.plain_seconds - verify[base]
    drafting = [0] * (max((place for _, place, _ in items), default=0) + 1)
    for count, (survival, place, index) in enumerate(items[: costs.max_tokens - base], start=1):
        expected -= survival
        candidate = candidates[index]
        if candidate.uses_model:
            num = drafting[place] = drafting[place] + 1
            seconds += draft[num] - draft[num - 1]
            if not place and candidate.lag > 1:
                seconds += (draft[candidate.lag] - draft[1]) / _CATCH_UP_STEPS
        rate = expected / (seconds + verify[base + count])
        if rate > best_rate:
            best_rate, best_count = rate, count
    return best_count, best_rate


def _place_by_place(items: list[Item], candidates: Sequence[Candidate]) -> Callable[[Item], tuple[float, float]]:
    """A sort key that keeps tokens of the model at the same place together, among the looked-up ones."""
    totals: dict[int, list[float]] = {}
    for survival, place, index in items:
        if candidates[index].uses_model:
            totals.setdefault(place, []).append(survival)
    means = {place: sum(values) / len(values) for place, values in totals.items()}
    # Where hardly any sequence goes on, the mean of those that do may rise again: a later place is never first.
    highest = -1.0
    for place in sorted(means):
        highest = means[place] = max(highest, means[place])
    uses_model = [candidate.uses_model for candidate in candidates]
    return lambda item: (means[item[1]] if uses_model[item[2]] else item[0], item[0])


def token_price(costs: StepCosts, num_sequences: int) -> float:
    """What verifying one more draft token costs at best, in tokens of plain decoding."""
    table, base = costs.verify, costs.base_tokens
    room = costs.max_tokens - base
    lengths = [n for n in (num_sequences, 2 * num_sequences, 4 * num_sequences, 8 * num_sequences) if n <= room]
    cheapest = min((table[base + n] - table[base]) / n for n in lengths or [max(1, room)])
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
