"""What a weight becomes when it is stored: training computes with this, so that storing the draft changes nothing.

The gradient passes the rounding as if it were not there (the straight-through estimator, Bengio et al. 2013,
arXiv 1308.3432): the weights themselves stay in full precision and move until they round to something else.
"""

from __future__ import annotations

import torch

BLOCK = 32
"""Weights that share one scale."""
_LEVELS = {"q4_0": 8, "q5_0": 16}
"""Half the number of values a weight can have. Rounding to the other formats costs too little to learn it."""


def as_stored(weight: torch.Tensor, to: str) -> torch.Tensor:
    """Return the weight (rows, columns) as it is read back from a file in this format; vectors are stored as they are.

    As llama.cpp writes Q4_0: in each block of 32 the value of the largest magnitude becomes -8, and the scale is
    rounded to 16 bits. Formats whose rounding is not worth learning give the weight itself.
    """
    half = _LEVELS.get(to)
    if half is None or weight.ndim == 1:
        return weight
    blocks = weight.unflatten(-1, (-1, BLOCK))
    largest = blocks.gather(-1, blocks.abs().argmax(-1, keepdim=True))
    scale = largest / -half
    inverse = torch.where(scale == 0, 0, 1 / scale)
    levels = (blocks * inverse + (half + 0.5)).trunc().clamp(max=2 * half - 1) - half
    return (levels * scale.half().to(weight.dtype)).flatten(-2)
