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

from exsa_lab.config import MAX_DRAFT_LENGTH, DrafterName

SMALL = 0.02
"""Survival below which a draft token is not looked at."""


class Mode(NamedTuple):
    """Who drafts, and how many tokens for each sequence, for a stretch of steps."""

    drafter: DrafterName
    """"auto" for the one that promises more in each step, "model" for all sequences in lockstep."""
    k: int


PLAIN = Mode("none", 0)
FREE = Mode("auto", MAX_DRAFT_LENGTH)
"""Where a change of shape costs nothing: any length, by either drafter."""


class StepCosts(NamedTuple):
    """Seconds of one step at the speed of calibration."""

    plain: float
    """A step without any draft."""
    target: list[float]
    """The target's decode by number of draft tokens; as long as there is room."""
    draft: list[float]
    """One decode of the draft by number of sequences."""
    certain: float = 0.0
    """What tokens add that are computed whatever is drafted: no cost of drafting, and none of a plain step."""

    def in_mode(self, mode: Mode, num: int) -> StepCosts:
        """The costs where the drafts of so many sequences are filled up to a mode's width, whatever was proposed."""
        if mode is FREE:
            return self
        seconds, draft = self.target[num * mode.k], self.draft
        if mode.drafter == "model":  # its decodes are as many for all sequences
            seconds, draft = seconds + mode.k * draft[num], [0.0] * len(draft)
        return self._replace(target=[seconds] * (num * mode.k + 1), draft=draft)


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
    share = costs.draft[num_model] / num_model if num_model else 0.0
    if not share and costs.target[0] > costs.plain:  # filled up: all is paid for, whatever is drafted
        expected = num + sum(sum(candidate.survival) for candidate in candidates)
        return [len(candidate.survival) for candidate in candidates], expected / costs.target[0]
    tokens = []
    for index, (drafter, survival, seconds) in enumerate(candidates):
        decode = share if drafter == "model" else 0.0
        fee = decode * num / costs.plain
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
