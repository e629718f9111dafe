"""The stairs of a cost curve between the points that were measured.

Matrix kernels compute several tokens at a time, on most CPUs four, and what is left over costs nearly as much as a
whole tile. Measured on two cores (Q8_0, milliseconds for 8 to 16 tokens): 25, 31, 32, 33, 31, 36, 40, 41, 38. A
straight line from 12 to 16 would promise 14 tokens for 34. There is no time at load to measure every number, and no
need: the stairs look alike.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping

TILE = 4
_LAST = 64
"""Above, a step is one in a dozen."""
_LEAST_RISE = 1.05
_MOST = 1.5
"""Of a rise: more was another program's doing."""


def with_stairs(points: Mapping[int, float]) -> dict[int, float]:
    """Return the points of a curve (seconds by tokens) with those between multiples of four filled in.

    The rise from 4 to 8 tokens, where every number was measured, gives the shape; between larger multiples the same
    shape is taken. Measured points stay. Without those of 4 to 8, or where they do not rise, nothing is filled in.

    Example:
        >>> with_stairs({4: 10.0, 5: 14.0, 6: 14.0, 7: 14.0, 8: 14.0, 12: 19.0})[9]
        19.0
    """
    first = [points[n] for n in range(TILE, 2 * TILE + 1) if n in points]
    if len(first) <= TILE or first[-1] < _LEAST_RISE * first[0]:
        return dict(points)
    shape = [min(_MOST, max(0.0, (seconds - first[0]) / (first[-1] - first[0]))) for seconds in first[1:TILE]]
    whole = sorted(n for n in points if n % TILE == 0 and TILE < n <= _LAST)
    filled: dict[int, float] = {}
    for low, high in itertools.pairwise(whole):
        rise = (points[high] - points[low]) * TILE / (high - low)
        for start in range(low, high, TILE):
            base = points[low] + rise * (start - low) / TILE
            filled[start] = base
            filled |= {start + place: base + rise * share for place, share in enumerate(shape, start=1)}
    return {**filled, **points}
