"""Batches of few shapes, for GPUs.

llama.cpp's CUDA backend records a batch's kernels as one graph and replays it while the next batches have the same
number of tokens and outputs. A batch of another shape is launched kernel by kernel, and so is the one after it: on an
H100 a step of the default target then takes 3.0 ms instead of 1.1. So small batches are padded to one of few sizes.
Which size each step has is decided by the draft policy.
"""

from __future__ import annotations

SIZES = (1, 2, 4, 8)
"""Shapes of small batches. From nine tokens on llama.cpp takes other kernels, and padding would cost more."""
STEPS_TO_RECORD = 3
"""Batches of a new shape until one is replayed: one to see the shape, one that sees it again, one that records."""


def steady_size(num_tokens: int, smallest: int = SIZES[0]) -> int:
    """Return the size for a batch of ``num_tokens``, at least that; batches above the largest size keep theirs.

    With ``smallest`` at the largest size every small batch has the same shape: a token is then computed by the same
    kernels whether it is drafted or not, and greedy texts do not depend on drafts.

    Example:
        >>> [steady_size(n) for n in (1, 3, 8, 9)]
        [1, 4, 8, 9]
    """
    return next((size for size in SIZES if size >= max(num_tokens, smallest)), num_tokens)
