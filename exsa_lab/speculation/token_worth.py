"""What a token committed early is worth to a batch, in seconds: what it saves later.

Goodput counts every token alike, at the mean price of a batch's tokens. That is right while others wait for a slot:
one that is free sooner is filled sooner. Where nobody waits, a sequence that ends sooner only leaves a smaller batch
behind, and small batches are dear by the token. Let r_1 >= r_2 >= ... be the steps that the sequences have yet to
take, and T(m) the time of a step of m of them. Together they take

    sum_m (T(m) - T(m-1)) * r_m

so a token of the one that ends last saves T(1), a whole step, and one of the first to end T(n) - T(n-1), which on a
CPU is half the mean. Drafts for a few of a batch are therefore worth less than goodput says, until those few are all
that is left. Sequences that end at about the same time share what they save: if all of them draft, all end sooner.
"""

from __future__ import annotations

from collections.abc import Sequence

SAME_TIME = 0.8
"""Of two numbers of steps, those with at least this ratio count as the same: nobody knows where an answer ends."""
_PACE_STRENGTH = 4
"""Rounds of one token that a sequence is taken to have had before its first."""


def steps_left(num_left: int, rounds: int, num_generated: int) -> float:
    """Return the steps that ``num_left`` tokens take at the pace of the ``rounds`` that gave ``num_generated``."""
    return num_left * (rounds + _PACE_STRENGTH) / (num_generated + _PACE_STRENGTH)


def token_worths(left: Sequence[float], step_seconds: Sequence[float], num: int) -> list[float]:
    """Return what a token of each sequence is worth, in mean tokens of a plain step of ``num`` of them.

    ``left`` and ``step_seconds`` as in `seconds_saved`.

    Example:
        >>> token_worths([100, 10], [0.0, 5.0, 8.0], 2)
        [1.25, 0.75]
    """
    return [seconds * num / step_seconds[num] for seconds in seconds_saved(left, step_seconds)]


def seconds_saved(left: Sequence[float], step_seconds: Sequence[float]) -> list[float]:
    """Return for each sequence the seconds that one token of it, committed early, saves the batch.

    ``left`` are the steps that each is expected to take yet (`steps_left`); ``step_seconds[m]`` is the time of a step
    of m of them, for 0 to all.

    Example:
        >>> seconds_saved([100, 10], [0.0, 5.0, 8.0])
        [5.0, 3.0]
        >>> seconds_saved([100, 90], [0.0, 5.0, 8.0])
        [4.0, 4.0]
    """
    saved = []
    for own in left:
        later = sum(other * SAME_TIME > own for other in left)
        not_sooner = sum(other >= own * SAME_TIME for other in left)
        saved.append((step_seconds[not_sooner] - step_seconds[later]) / (not_sooner - later))
    return saved
