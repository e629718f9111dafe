"""Batches of steady shapes, for GPUs.

llama.cpp's CUDA backend records a batch's kernels as one graph and replays it while the next batches have the same
number of tokens and outputs. A batch of another shape is launched kernel by kernel, and so is the one after it: on an
H100 a step of the default target then takes 3.0 ms instead of 1.1. Speculation changes the shape at nearly every
step. So small batches are padded to one of few sizes, and a size once needed is kept for a while.
"""

from __future__ import annotations

SIZES = (1, 2, 4, 8)
"""Shapes of small batches. From nine tokens on llama.cpp takes other kernels, and padding would cost more."""
STEPS_TO_RECORD = 3
"""Batches of a new shape until one is replayed: one to see the shape, one that sees it again, one that records."""
PATIENCE = 24
"""Smaller batches in a row after which the size shrinks to what they needed."""


class Steady:
    """Says to how many tokens a batch should be padded. Pure: it only remembers sizes.

    With ``smallest`` at the largest size every small batch has the same shape: a token is then computed by the same
    kernels whether it is drafted or not, and greedy texts do not depend on drafts.

    Example::

        steady = Steady()
        [steady.fit(n) for n in (1, 3, 1, 2)]  # 1, 4, 4, 4
    """

    def __init__(self, smallest: int = SIZES[0]) -> None:
        self._sizes = tuple(size for size in SIZES if size >= smallest)
        self._size = self._largest_smaller = self._sizes[0]
        self._num_smaller = 0

    def fit(self, num_tokens: int) -> int:
        """Return the size for a batch of ``num_tokens``, at least that; batches above the largest size keep theirs."""
        if num_tokens > SIZES[-1]:
            return num_tokens
        needed = next(size for size in self._sizes if size >= num_tokens)
        if needed >= self._size:
            self.settle(needed)
            return needed
        self._num_smaller += 1
        self._largest_smaller = max(self._largest_smaller, needed)
        if self._num_smaller >= PATIENCE:
            self.settle(self._largest_smaller)
        return self._size

    def settle(self, num_tokens: int) -> None:
        """Forget what was needed: a run of batches of this size begins."""
        self._size = next((size for size in self._sizes if size >= num_tokens), SIZES[-1])
        self._num_smaller, self._largest_smaller = 0, self._sizes[0]
