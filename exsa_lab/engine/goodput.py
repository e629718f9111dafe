"""The search for the best draft lengths of one step: numbers in, numbers out."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Numbers = NDArray[np.float64]
Order = NDArray[np.int64]

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

    def draft_seconds(self, num_tokens: int) -> float:
        """A draft decode of any number of tokens; long ones, prefill, cost the same per token."""
        last = len(self.draft) - 1
        return self.draft[num_tokens] if num_tokens <= last else self.draft[last] * num_tokens / last

    def seconds(self, num_tokens: int, draft_seconds: float) -> float:
        """Seconds of the step without those that prefill would have cost anyway."""
        return self.plain_seconds + self.verify[num_tokens] - self.verify[self.base_tokens] + draft_seconds


def best_lengths(candidates: Sequence[Candidate], costs: StepCosts) -> tuple[list[int], float]:
    """Return the draft lengths with the highest goodput, and that goodput in tokens per second.

    Draft tokens are taken one by one and the best stopping place is kept. In falling order of survival this is exact
    on any cost curve where draft tokens cost nothing. Draft models share their decodes, so going through them place
    by place may be better; both orders are tried.
    """
    if len(candidates) == 1:
        count, rate = _best_length(candidates[0], costs)
        return [count], rate
    tokens = [
        (survival, place, index, candidate.uses_model)
        for index, candidate in enumerate(candidates)
        for place, survival in enumerate(candidate.survival)
        if survival >= SMALL
    ]
    if not tokens:
        return [0] * len(candidates), len(candidates) / costs.plain_seconds
    survival, place, index, uses_model = (np.array(column) for column in zip(*tokens, strict=True))
    catch_up = np.array([_catch_up(candidate, costs) for candidate in candidates])[index] * (place == 0)
    order = np.lexsort((place, -survival))
    lengths, rate = _best_prefix(order, survival, place, index, uses_model, catch_up, costs, len(candidates))
    if uses_model.any():
        in_step = np.lexsort((-survival, _level(survival, place, uses_model)))
        other = _best_prefix(in_step, survival, place, index, uses_model, catch_up, costs, len(candidates))
        if other[1] > rate:
            lengths, rate = other
    return lengths, rate


def _best_length(candidate: Candidate, costs: StepCosts) -> tuple[int, float]:
    """The search for a step of one sequence."""
    expected, best, best_count = 1.0, 1.0 / costs.plain_seconds, 0
    verify, base = costs.verify, costs.base_tokens
    seconds = costs.plain_seconds - verify[base] + _catch_up(candidate, costs)
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


def _best_prefix(
    order: Order,
    survival: Numbers,
    place: Order,
    index: Order,
    uses_model: NDArray[np.bool_],
    catch_up: Numbers,
    costs: StepCosts,
    num_sequences: int,
) -> tuple[list[int], float]:
    """Take draft tokens in this order up to the best stopping place; returns lengths and goodput."""
    base = costs.base_tokens
    order = order[: costs.max_tokens - base]
    seconds = catch_up[order]
    place_in_order = np.where(uses_model[order], place[order], -1)
    decodes = np.diff(costs.draft[: num_sequences + 1]) if costs.draft else np.zeros(0)
    for at in range(int(place_in_order.max(initial=-1)) + 1):
        here = np.flatnonzero(place_in_order == at)
        seconds[here] += decodes[: len(here)]
    verify = np.array(costs.verify[base + 1 : base + 1 + len(order)]) - costs.verify[base]
    rates = (num_sequences + survival[order].cumsum()) / (costs.plain_seconds + verify + seconds.cumsum())
    best = int(rates.argmax()) if len(rates) else 0
    plain = num_sequences / costs.plain_seconds
    if not len(rates) or rates[best] <= plain:
        return [0] * num_sequences, plain
    lengths: list[int] = np.bincount(index[order[: best + 1]], minlength=num_sequences).tolist()
    return lengths, float(rates[best])


def _level(survival: Numbers, place: Order, uses_model: NDArray[np.bool_]) -> Numbers:
    """A sort key that keeps the model's tokens at the same place together, among the looked-up ones."""
    level = -survival
    highest = -1.0
    for at in range(int(place[uses_model].max()) + 1):
        here = uses_model & (place == at)
        # Where few sequences go on, the mean of those may rise again: a later place never comes first.
        highest = max(highest, float(level[here].mean()))
        level[here] = highest
    return level


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
