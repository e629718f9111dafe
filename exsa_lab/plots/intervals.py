"""How sure a comparison of two settings is: what may be resampled, and the interval of a ratio."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import fmean

from exsa_lab.events import RoundEvent
from exsa_lab.trace.trace import Trace

_Z = 1.959964
_T_OF_FEW = {1: 12.7062, 2: 4.3027}


def batches(traces: Sequence[Trace]) -> list[list[Trace]]:
    """Group traces that shared steps of the engine, directly or by way of others, in the order of their first.

    Requests of one batch are no independent measurements: what slows one down slows down all. Rounds with the same
    measured times are of the same step, which a saved trace still tells.
    """
    group = list(range(len(traces)))
    first_in: dict[tuple[float, float, int], int] = {}
    for index, trace in enumerate(traces):
        for event in trace.rounds:
            if event.batch_sequences > 1:
                other = first_in.setdefault(_step(event), index)
                old, new = sorted((group[index], group[other]), reverse=True)
                if old != new:
                    group = [new if each == old else each for each in group]
    return [[trace for trace, own in zip(traces, group, strict=True) if own == each] for each in sorted(set(group))]


def _step(event: RoundEvent) -> tuple[float, float, int]:
    return event.verify_s, event.draft_s, event.batch_tokens


def ratio_interval(a: Sequence[float], b: Sequence[float], *, paired: bool = False) -> tuple[float, float, float]:
    """Return the ratio of means b / a and its 95 % interval: Student's t on the logarithm, by the delta method.

    ``paired`` says that a[i] and b[i] were measured under the same conditions (the same prompts). The interval is
    (nan, nan) where it cannot be told: from one measurement on either side, or from means that are 0. Raises
    ValueError where a sample is empty, or a pair is incomplete.

    Example:
        >>> ratio, low, high = ratio_interval([10.0, 11.0, 12.0], [20.0, 22.0, 24.0], paired=True)
        >>> round(ratio, 6), round(high - low, 6)
        (2.0, 0.0)
    """
    if not a or not b or (paired and len(a) != len(b)):
        raise ValueError(f"Samples of {len(a)} and {len(b)} cannot be compared{' in pairs' if paired else ''}.")
    mean_a, mean_b = fmean(a), fmean(b)
    ratio = mean_b / mean_a if mean_a else math.nan
    freedom = min(len(a), len(b)) - 1
    if not freedom or not ratio > 0:
        return ratio, math.nan, math.nan
    if paired:
        differences = [y / mean_b - x / mean_a for x, y in zip(a, b, strict=True)]
        error = _standard_error(differences)
    else:
        error = math.hypot(_standard_error([x / mean_a for x in a]), _standard_error([y / mean_b for y in b]))
    reach = math.exp(student_t(freedom) * error)
    return ratio, ratio / reach, ratio * reach


def student_t(freedom: int) -> float:
    """Return the two-sided 95 % quantile of Student's t (Cornish and Fisher 1938; within 1 % of the tables)."""
    if freedom in _T_OF_FEW:
        return _T_OF_FEW[freedom]
    z, n = _Z, freedom
    terms = (
        (z**3 + z) / (4 * n),
        (5 * z**5 + 16 * z**3 + 3 * z) / (96 * n**2),
        (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / (384 * n**3),
    )
    return z + sum(terms)


def _standard_error(values: Sequence[float]) -> float:
    mean = fmean(values)
    return math.sqrt(sum((value - mean) ** 2 for value in values) / (len(values) - 1) / len(values))
