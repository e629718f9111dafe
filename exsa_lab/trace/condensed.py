"""A position's logits, small enough for a page that is to compute the sampling chain itself.

The most probable tokens of both models are kept with their logits. All others are counted in bins of neighbouring
logits: number, mean and variance of each bin. From them follows what they weigh together at any temperature (their
log-sum-exp alone would tell it at one), and where a cut falls among them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from exsa_lab.speculation.sampling import Row

MOST = 128
"""Tokens of each model that are kept with their logits."""
_WIDTH = 0.25
"""Of a bin, in logits: at temperature 1 the bins' weight is then right to one in ten thousand."""
_MAX_BINS = 160
"""What is less probable than these bins reach shares the last one."""


@dataclass(frozen=True, slots=True, eq=False)
class Condensed:
    """See the module's text; ``ids`` ascend."""

    ids: NDArray[np.int64]
    target: list[float | None]
    """Logits of ``ids``; None for a token that is impossible."""
    draft: list[float | None] | None
    target_rest: list[list[float]]
    """(number, mean, variance) of each bin, the most probable first."""
    draft_rest: list[list[float]] | None

    def as_json(self) -> dict[str, Any]:
        return {
            "ids": self.ids.tolist(),
            "target": self.target,
            "draft": self.draft,
            "target_rest": self.target_rest,
            "draft_rest": self.draft_rest,
        }


def condense(target: Row, draft: Row | None, *, also: tuple[int, ...] = ()) -> Condensed:
    """Return the rows of one position, shape (vocab_size,) each, in short; ``also`` are tokens to keep in any case.

    Example: ``condense(places.target[5], places.draft[5])`` of `exsa_lab.trace.Positions`.
    """
    rows = [target] if draft is None else [target, draft]
    most = min(MOST, len(target))
    best = [np.argpartition(row, len(row) - most)[len(row) - most :] for row in rows]
    ids = np.unique(np.concatenate([*best, np.array(also, np.int64)]))
    own = [_logits(row[ids]) for row in rows]
    rest = [_bins(np.delete(row, ids)) for row in rows]
    return Condensed(
        ids, own[0], own[1] if draft is not None else None, rest[0], rest[1] if draft is not None else None
    )


def _logits(values: Row) -> list[float | None]:
    return [round(float(value), 5) if np.isfinite(value) else None for value in values]


def _bins(values: Row) -> list[list[float]]:
    finite = values[np.isfinite(values)].astype(np.float64)
    if not len(finite):
        return []
    place = np.minimum((finite.max() - finite) // _WIDTH, _MAX_BINS - 1).astype(int)
    found = []
    for index in np.unique(place):
        inside = finite[place == index]
        found.append([len(inside), round(float(inside.mean()), 4), round(float(inside.var()), 6)])
    return found
