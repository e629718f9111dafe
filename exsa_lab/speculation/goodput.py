"""The search for the draft lengths of one step that give the most tokens per second. Numbers in, numbers out.

A step with k_i draft tokens for sequence i commits 1 + S_i(1) + ... + S_i(k_i) tokens of each in expectation, where
S_i(j) is the probability that its first j draft tokens are all accepted. It takes one target decode of all tokens plus
the draft's decodes. S_i never rises with j and the target's time depends on the sum of the k_i only, so the best way to
spend K draft tokens is to take the K largest S_i(j), and trying every K is exact even where the cost curve has jumps.
Goodput, expected tokens per second of the whole step, is what TurboSpec maximises (arXiv 2406.14066).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from exsa_lab.config import MAX_DRAFT_LENGTH, DrafterName
from exsa_lab.speculation.draft_plan import StepCosts

SMALL = 0.02
"""Survival below which a draft token is not looked at."""


@dataclass(slots=True)
class Candidate:
    """One sequence's possible draft."""

    drafter: DrafterName
    survival: list[float]
    """Probability that the first 1, 2, ... draft tokens are all accepted; empty where it cannot draft."""
    catch_up: float = 0.0
    """Seconds of the draft's catching up that this step pays."""


NOTHING = Candidate("none", [])


def best_length(candidate: Candidate, costs: StepCosts) -> tuple[int, float]:
    """Return the best draft length of a step of one sequence, and its goodput in tokens per second."""
    expected, best, best_count = 1.0, 1.0 / costs.plain_seconds, 0
    verify, base = costs.verify, costs.base_tokens
    seconds = costs.plain_seconds - verify[base] + costs.return_seconds + candidate.catch_up
    decode = costs.draft[1] if candidate.drafter == "model" else 0.0
    for count, survival in enumerate(candidate.survival[: costs.max_tokens - base], start=1):
        if survival < SMALL:
            break
        expected += survival
        seconds += decode
        rate = expected / (seconds + verify[base + count])
        if rate > best:
            best, best_count = rate, count
    return best_count, best


def best_lengths(candidates: Sequence[Candidate], costs: StepCosts) -> tuple[list[int], float]:
    """Return the draft lengths of a step of several sequences, and its goodput in tokens per second."""
    num = len(candidates)
    survival = np.zeros((num, MAX_DRAFT_LENGTH))
    for row, candidate in zip(survival, candidates, strict=True):
        row[: len(candidate.survival)] = candidate.survival
    num_model = sum(candidate.drafter == "model" for candidate in candidates)
    # Draft models go in lockstep: each token's share of a decode.
    decode = costs.draft[num_model] / num_model if num_model else 0.0
    fees = np.array([decode * (candidate.drafter == "model") for candidate in candidates])[:, None]
    seconds = np.broadcast_to(fees, survival.shape).copy()
    seconds[:, 0] += [candidate.catch_up for candidate in candidates]
    worth = np.where(survival > SMALL, survival - fees * (num / costs.plain_seconds), -1.0).ravel()
    order = np.argsort(-worth, kind="stable")[: min(int((worth > -1.0).sum()), costs.max_tokens - costs.base_tokens)]
    if not len(order):
        return [0] * num, num / costs.plain_seconds
    verify = np.array(costs.verify[costs.base_tokens : costs.base_tokens + len(order) + 1])
    total = costs.plain_seconds + verify[1:] - verify[0] + costs.return_seconds + np.cumsum(seconds.ravel()[order])
    rates = (num + np.cumsum(survival.ravel()[order])) / total
    best = int(rates.argmax())
    if rates[best] <= num / costs.plain_seconds:
        return [0] * num, num / costs.plain_seconds
    lengths = np.bincount(order[: best + 1] // MAX_DRAFT_LENGTH, minlength=num)
    return lengths.tolist(), float(rates[best])


def worth(candidate: Candidate, costs: StepCosts, num_sequences: int) -> float:
    """What a draft is expected to bring, in tokens: to choose between two drafters of one of many sequences."""
    fee = 0.0
    if candidate.drafter == "model":
        fee = costs.draft[num_sequences] / costs.plain_seconds
    return sum(max(0.0, survival - fee) for survival in candidate.survival)


def perfect_gain(costs: StepCosts, num_sequences: int, longest: int, *, uses_model: bool) -> float:
    """Return the best speed-up of drafts that are always right; one sequence drafts, or all do."""
    best = 1.0
    for drafting in {1, num_sequences}:
        for k in range(1, longest + 1):
            if costs.base_tokens + k * drafting > costs.max_tokens:
                break
            seconds = costs.seconds(k * drafting) + (k * costs.draft[drafting] if uses_model else 0.0)
            best = max(best, (num_sequences + k * drafting) / num_sequences * costs.plain_seconds / seconds)
    return best
