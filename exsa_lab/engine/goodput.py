"""The search for the best draft lengths of one step: numbers in, numbers out."""

from __future__ import annotations

from collections.abc import Sequence
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


def best_lengths(candidates: Sequence[Candidate], costs: StepCosts) -> tuple[list[int], float]:
    """Return the draft lengths with the highest goodput, and that goodput in tokens per second.

    Draft tokens are taken one by one in falling order of survival, dearer ones of the model last, and the best
    stopping place is kept: exact for looked-up drafts on any cost curve, near it where draft decodes are shared.
    """
    num = len(candidates)
    lengths = [0] * num
    best_rate = num / costs.plain_seconds
    best_count = 0
    items = _items(candidates, costs)
    room = min(len(items), costs.max_tokens - costs.base_tokens)
    expected = float(num)
    draft = costs.draft
    drafting: list[int] = []
    draft_seconds = 0.0
    verify, base = costs.verify, costs.base_tokens
    fixed = costs.plain_seconds - verify[base]
    for count in range(room):
        _, place, index, survival = items[count]
        expected += survival
        candidate = candidates[index]
        if candidate.uses_model:
            if place == len(drafting):
                drafting.append(0)
            drafting[place] += 1
            draft_seconds += draft[drafting[place]] - draft[drafting[place] - 1]
            if not place and candidate.lag > 1:
                draft_seconds += (draft[candidate.lag] - draft[1]) / _CATCH_UP_STEPS
        rate = expected / (fixed + verify[base + count + 1] + draft_seconds)
        if rate > best_rate:
            best_rate, best_count = rate, count + 1
    for _, _, index, _ in items[:best_count]:
        lengths[index] += 1
    return lengths, best_rate


def _items(candidates: Sequence[Candidate], costs: StepCosts) -> list[tuple[float, int, int, float]]:
    """Every draft token worth a look, best first: (its negated worth, its place, its sequence, its survival)."""
    num = len(candidates)
    decode = costs.draft[num] / costs.plain_seconds if costs.draft else 0.0  # in tokens, per sequence
    items = []
    for index, candidate in enumerate(candidates):
        fee = decode if candidate.uses_model else 0.0
        for place, survival in enumerate(candidate.survival):
            if survival < SMALL:
                break
            items.append((fee - survival, place, index, survival))
    if num > 1:
        items.sort()
    return items


def worth(candidate: Candidate, costs: StepCosts, num_sequences: int) -> float:
    """What a draft is worth at average costs, in tokens: to choose between two drafters of one of many sequences."""
    table, base = costs.verify, costs.base_tokens
    longest = min(len(candidate.survival) * num_sequences, costs.max_tokens - base)
    if longest <= 0:
        return 0.0
    price = num_sequences / costs.plain_seconds
    fee = price * (table[base + longest] - table[base]) / longest
    if candidate.uses_model:
        fee += price * costs.draft[num_sequences] / num_sequences
    best = value = 0.0
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
