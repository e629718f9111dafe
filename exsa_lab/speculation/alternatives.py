"""What else might have come: the most probable tokens at each place of a text, before and after the sampling chain.

Computed only where somebody asked for it, from the rows that the round has verified anyway. Pure numpy.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from exsa_lab.config import SamplingParams
from exsa_lab.speculation.rejection_sampling import Verdict
from exsa_lab.speculation.sampling import Distribution, Row, Softmax, apply_chain, largest_tokens
from exsa_lab.speculation.shaping import Shaping

IMPOSSIBLE = -9999.0
"""Stands for the logarithm of a probability that is 0, which JSON cannot hold."""


@dataclass(frozen=True, slots=True)
class Look:
    """One place of a text: how likely its token was, and what the others were."""

    logprob: float
    """Natural logarithm of the token's raw probability."""
    entropy: float
    """Of the raw distribution, in bits."""
    top: tuple[tuple[int, float, float | None, float | None], ...]
    """(token, raw, p, q) of the most probable ones, see `exsa_lab.events.Alternative`."""


def look(
    logits: Row,
    token: int,
    count: int,
    *,
    p: Callable[[int], float] | None = None,
    q: Callable[[int], float] | None = None,
) -> Look:
    """Look at a row of logits, as the model gave it, before which ``token`` was chosen.

    The ``count`` tokens of largest logits are returned in falling order, the lower id first among equals.

    Example: ``look(np.log([0.25, 0.5, 0.25]), 0, 2).top`` is ``((1, 0.5, None, None), (0, 0.25, None, None))``.
    """
    shifted = logits.astype(np.float64) - float(logits.max())
    weights = np.exp(shifted)
    total = float(weights.sum())
    possible = weights > 0
    entropy = math.log(total) - float((weights[possible] * shifted[possible]).sum()) / total
    tokens = largest_tokens(logits, count) if count else []
    return Look(
        logprob=max(IMPOSSIBLE, float(shifted[token]) - math.log(total)),
        entropy=max(0.0, entropy / math.log(2)),
        top=tuple(
            (other, float(weights[other]) / total, p(other) if p else None, q(other) if q else None) for other in tokens
        ),
    )


def look_at_round(
    draft: Sequence[int],
    draft_dists: Sequence[Distribution],
    target_rows: NDArray[np.float32],
    verdict: Verdict,
    params: SamplingParams,
    shaping: Shaping | None = None,
) -> list[Look]:
    """Look at each place of a round whose tokens are not committed yet: its accepted draft tokens, and the last one.

    ``draft_dists`` has what the drafter thought at each place of its draft; it may be empty.
    """
    looks = []
    for index in range(verdict.accepted + 1):
        row = target_rows[index]
        shaped = row if shaping is None else shaping.apply(row, draft[:index])
        token = draft[index] if index < verdict.accepted else verdict.token
        p = Softmax(shaped).probability if params.temperature == 0 else apply_chain(shaped, params).probability
        q = draft_dists[index].probability if index < len(draft_dists) else None
        looks.append(look(row, token, params.top_logprobs, p=p, q=q))
    return looks


def look_at_prompt(logits: NDArray[np.float32], tokens: Sequence[int], count: int) -> list[Look]:
    """Look at tokens of a prompt, each of which came after the row of the same index."""
    return [look(row, token, count) for row, token in zip(logits, tokens, strict=True)]
