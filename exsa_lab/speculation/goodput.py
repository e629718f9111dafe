"""The search for the draft lengths of one step that give the most tokens per second. Numbers in, numbers out.

A step with k_i draft tokens for sequence i commits 1 + S_i(1) + ... + S_i(k_i) tokens of each in expectation, where
S_i(j) is the probability that its first j draft tokens are all accepted. It takes one target decode of all tokens plus
the draft's decodes. S_i never rises with j and the target's time depends on the sum of the k_i only, so the best way to
spend K draft tokens is to take the K largest S_i(j), and trying every K is exact even where the cost curve has jumps.
Goodput, expected tokens per second of the whole step, is what TurboSpec maximises (arXiv 2406.14066).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from exsa_lab.config import DrafterName
from exsa_lab.speculation.draft_plan import FREE, Mode, StepCosts

SMALL = 0.02
"""Survival below which a draft token is not looked at."""


class Candidate(NamedTuple):
    """One sequence's possible draft."""

    drafter: DrafterName
    survival: list[float]
    """Probability that the first 1, 2, ... draft tokens are all accepted; empty where it cannot draft."""
    catch_up: float = 0.0
    """Seconds of the draft's catching up that this step pays."""

    def worth(self, decode: float) -> float:
        """Expected tokens, less those that plain decoding would make meanwhile; ``decode`` is a decode in tokens."""
        fee = decode if self.drafter == "model" else 0.0
        return sum(alive - fee for alive in self.survival if alive > fee)


NOTHING = Candidate("none", [])


def best_lengths(candidates: Sequence[Candidate], costs: StepCosts) -> tuple[list[int], float]:
    """Return the best draft lengths of a step, and its goodput in tokens per second."""
    num = len(candidates)
    num_model = sum(candidate.drafter == "model" for candidate in candidates)
    # Draft models go in lockstep: each token's share of a decode.
    share = costs.draft[num_model] / num_model if num_model and costs.draft else 0.0
    tokens = []
    for index, (drafter, survival, seconds) in enumerate(candidates):
        decode = share if drafter == "model" else 0.0
        fee = decode * num / costs.target[0]
        for place, alive in enumerate(survival):
            if alive < SMALL:
                break
            tokens.append((fee - alive, index, place, alive, seconds + decode))
            seconds = 0.0
    tokens.sort()
    expected, drafting, best, best_count = float(num), 0.0, num / costs.target[0], 0
    for count, ((*_, alive, seconds), verify) in enumerate(zip(tokens, costs.target[1:], strict=False), start=1):
        expected += alive
        drafting += seconds
        rate = expected / (verify + drafting)
        if rate > best:
            best, best_count = rate, count
    lengths = [0] * num
    for _, index, *_ in tokens[:best_count]:
        lengths[index] += 1
    return lengths, best


def search(
    mode: Mode, options: Sequence[Sequence[Candidate]], costs: StepCosts
) -> tuple[list[Candidate], list[int], float]:
    """Return who drafts for each sequence in a mode, how many tokens, and the goodput in tokens per second.

    ``options[i]`` are the possible drafts of sequence i.
    """
    num, decode = len(options), costs.draft[len(options)] / costs.plain if costs.draft else 0.0
    if mode is not FREE:
        options = [
            [
                Candidate(name, survival[: mode.k], paid)
                for name, survival, paid in some
                if mode.drafter in ("auto", name)
            ]
            for some in options
        ]
    if num == 1:
        if mode is not FREE:
            costs = StepCosts([costs.target[mode.k]] * (mode.k + 1), costs.draft)
        found = [(*best_lengths([candidate], costs), candidate) for candidate in options[0] or [NOTHING]]
        lengths, rate, candidate = max(found, key=lambda one: one[1])
        return [candidate], lengths, rate
    candidates = [max(some, key=lambda one: one.worth(decode), default=NOTHING) for some in options]
    if mode is FREE:
        return candidates, *best_lengths(candidates, costs)
    # The width is paid for, whatever is drafted, and so are the draft's decodes.
    seconds = costs.seconds(mode.drafter, num, mode.k)
    if mode.drafter == "model":  # after a draft that was accepted whole, its last token is one decode more
        seconds += costs.draft[num] * min(1.0, sum(sum(candidate.survival[-1:]) for candidate in candidates))
    expected = num + sum(sum(candidate.survival) for candidate in candidates)
    return candidates, [len(candidate.survival) for candidate in candidates], expected / seconds
