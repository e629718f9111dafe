"""How far repeats of one measurement lie apart, and when that means that the machine is busy with something else.

Every speed that is shown says how sure it is by one of these, or that it is of one run.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence
from itertools import pairwise

from exsa_lab.events import RoundEvent

MAX_SCATTER = 0.1
"""Repeats that lie further apart than this share are told of."""
MEASURED_STEPS = "repeats of measured steps"
_LEAST_NEIGHBOURS = 6
_LEAST_STEP_S = 0.0005
"""Shorter steps, those of scripted models, differ by what Python does."""


def spread(repeats: Sequence[float]) -> float:
    """Return how far the largest of a few repeats lies above the smallest, as a share; 0 of one, or of none above 0.

    Example:
        >>> round(spread([10.0, 10.5, 11.0]), 3)
        0.1
    """
    return max(repeats) / min(repeats) - 1 if repeats and min(repeats) > 0 else 0.0


def typical_delay(measurements: Iterable[Sequence[float]]) -> float:
    """Return how far the middle repeat (of two the slower) lies above the fastest, in the middle of many measurements.

    What delays a decode now and then does not count; a machine that is busy delays most of them. ``measurements`` are
    seconds, each with its repeats; one alone says nothing. 0 where none is left.

    Example:
        >>> typical_delay([[1.0, 1.0, 9.0], [2.0, 2.0, 2.5], [3.0, 6.0, 6.0]])
        0.0
    """
    delays = [statistics.median_high(repeats) / min(repeats) - 1 for repeats in measurements if len(repeats) > 1]
    return statistics.median(delays) if delays else 0.0


def if_busy(share: float, what: str = "repeats") -> str:
    """Return the sentence that warns of repeats so far apart; empty where they agree.

    Example:
        >>> if_busy(0.34)
        'Machine busy: repeats differ by 34 %.'
    """
    return f"Machine busy: {what} differ by {100 * share:.0f} %." if share > MAX_SCATTER else ""


def of_costs(share: float) -> str:
    """Return the sentence that says how sure measured costs of steps are.

    Example:
        >>> of_costs(0.034)
        'Repeats of measured steps differ by 3 %.'
    """
    return if_busy(share, MEASURED_STEPS) or f"{MEASURED_STEPS.capitalize()} differ by {100 * share:.0f} %."


def unsteadiness(*runs: Iterable[RoundEvent]) -> float:
    """Return by how much steps of the same size that follow each other differ, as a share: the middle one of them.

    Neighbours, for a longer context makes later steps slower on any machine. 0 where there are too few.
    """
    differences = [
        spread([one.verify_s, other.verify_s])
        for rounds in runs
        for one, other in pairwise(rounds)
        if (one.batch_tokens, one.batch_sequences) == (other.batch_tokens, other.batch_sequences)
        and min(one.verify_s, other.verify_s) > _LEAST_STEP_S
    ]
    return statistics.median(differences) if len(differences) >= _LEAST_NEIGHBOURS else 0.0


def of_one_run(rounds: Iterable[RoundEvent]) -> str:
    """Return how sure the speed of a single run is, to stand in brackets behind it.

    Example:
        >>> of_one_run([])
        'one run'
    """
    return ", ".join(["one run", *busy_steps([rounds])])


def busy_steps(runs: Iterable[Iterable[RoundEvent]]) -> list[str]:
    """Return, to be joined to other words, the warning that steps of these runs were unsteady; nothing if not."""
    warning = if_busy(unsteadiness(*runs), "neighbouring steps")
    return [warning[0].lower() + warning[1:].rstrip(".")] if warning else []
