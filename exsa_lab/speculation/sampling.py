"""From logits to tokens: the sampling chain, probabilities under greedy decoding, and a request's random numbers.

Everything here is numpy on one row of logits, shape (vocab_size,), float32, as the model gave them. A row with NaN,
or whose largest logit is infinite, raises DecodeError: nothing sensible can be drawn from it.
"""

from __future__ import annotations

import math
import threading
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from exsa_lab.config import SamplingParams
from exsa_lab.errors import DecodeError

Row = NDArray[np.float32]
"""Logits of the next token, shape (vocab_size,)."""

_COLDEST = 1e-30
"""Smallest temperature float32 can divide by; colder ones choose the same tokens."""
_BLOCK = 64
"""Tokens per block where a long row is reduced block by block first."""
_NUCLEUS_FLOORS = (1e-3, 1e-4, 1e-5, 0.0)
"""Where to look for the nucleus in turn, as fractions of the best token's probability, so that few tokens are sorted.
The first is nearly always enough at temperature 1."""


@dataclass(frozen=True, slots=True, eq=False)
class Distribution:
    """Probabilities of the next token, kept sparse where the chain cut the vocabulary.

    Example: ``Distribution(np.array([3, 7], np.int32), np.array([0.25, 0.75]))``.
    """

    ids: NDArray[np.int32] | None
    """Tokens in ascending order; None where every token is there and the index is the token."""
    probs: NDArray[np.float64]
    """Their probabilities; the sum is 1."""

    @classmethod
    def one_hot(cls, token: int) -> Distribution:
        """All probability on one token."""
        return cls(np.array([token], np.int32), np.ones(1))

    @classmethod
    def from_weights(cls, ids: NDArray[np.int32] | None, weights: NDArray[np.floating]) -> Distribution:
        """Normalise non-negative weights, at least one of them positive."""
        probs = weights.astype(np.float64)
        probs /= probs.sum()
        return cls(ids, probs)

    @property
    def is_one_hot(self) -> bool:
        """Whether only one token was left."""
        return self.ids is not None and len(self.ids) == 1

    @property
    def tokens(self) -> NDArray[np.int32]:
        """The token of each entry of ``probs``."""
        return np.arange(len(self.probs), dtype=np.int32) if self.ids is None else self.ids

    def top(self) -> tuple[int, float]:
        """The most probable token and its probability."""
        index = int(self.probs.argmax())
        return (index if self.ids is None else int(self.ids[index])), float(self.probs[index])

    def probability(self, token: int) -> float:
        """Probability of one token; 0 for one that was cut."""
        if self.ids is None:
            return float(self.probs[token])
        index = int(self.ids.searchsorted(token))
        return float(self.probs[index]) if index < len(self.ids) and self.ids[index] == token else 0.0

    def probabilities(self, ids: NDArray[np.int32]) -> NDArray[np.float64]:
        """Probability of each of several tokens, in their order."""
        if self.ids is None:
            return self.probs[ids]
        index = np.minimum(self.ids.searchsorted(ids), len(self.ids) - 1)
        return np.where(self.ids[index] == ids, self.probs[index], 0.0)

    def sample(self, u: float) -> int:
        """Draw the token at ``u`` in [0, 1) by inverse CDF over ascending ids; never one of probability 0."""
        index = _invert_cdf(self.probs, u)
        return index if self.ids is None else int(self.ids[index])


def apply_chain(logits: Row, params: SamplingParams) -> Distribution:
    """Turn logits into the distribution a request samples from.

    In this order: temperature (logits / T; 0 leaves the best token alone), top-k (the k largest), top-p (the smallest
    set of the most probable whose share of what top-k left is at least top_p), min-p (tokens of at least min_p times
    the best one's probability). What remains is normalised. Among equals the lower token id counts as the more
    probable one.

    Raises DecodeError where the logits are not numbers.
    """
    best, peak = _find_best(logits)
    if params.temperature == 0 or params.top_k == 1:
        return Distribution.one_hot(best)
    if 0 < params.top_k < len(logits):
        ids = _find_largest(logits, params.top_k)
        weights = _exp_weights(logits[ids], peak, params.temperature)
    else:
        ids = None
        weights = _exp_weights(logits, peak, params.temperature)
    kept = _cut_tail(weights, params.top_p, params.min_p)
    if kept is not None:
        weights = weights[kept]
        ids = kept if ids is None else ids[kept]
    return Distribution.from_weights(None if ids is None else ids.astype(np.int32), weights)


def greedy_token(logits: Row) -> int:
    """Return the token with the largest logit, the lowest id among equals; raises DecodeError."""
    return _find_best(logits)[0]


def largest_tokens(logits: Row, count: int) -> list[int]:
    """Return the ``count`` tokens of largest logits in falling order, the lower id first among equals."""
    ids = np.arange(len(logits)) if count >= len(logits) else _find_largest(logits, count)
    return [int(ids[place]) for place in np.argsort(-logits[ids], kind="stable")]


def softmax_probability(logits: Row, token: int) -> float:
    """Return the model's own probability of a token, at temperature 1 and with nothing cut; raises DecodeError."""
    return Softmax(logits).probability(token)


def top_with_probability(logits: Row) -> tuple[int, float]:
    """Return the greedy token and the model's own probability of it; raises DecodeError."""
    softmax = Softmax(logits)
    return softmax.best, softmax.probability(softmax.best)


def top2_margin(logits: Row) -> float:
    """Return by how much the best logit exceeds the second best: how near greedy decoding was to another token."""
    best, peak = _find_best(logits)
    rest = [part.max() for part in (logits[:best], logits[best + 1 :]) if len(part)]
    return peak - float(max(rest)) if rest else math.inf


class Softmax:
    """The model's own probabilities at temperature 1, for a few tokens of one row at the price of one pass."""

    __slots__ = ("_logits", "_peak", "_total", "best")

    def __init__(self, logits: Row) -> None:
        self.best, self._peak = _find_best(logits)
        self._logits = logits
        self._total = _sum_exp(logits, self._peak)

    def probability(self, token: int) -> float:
        return math.exp(float(self._logits[token]) - self._peak) / self._total


_memory = threading.local()
_SAFE_PEAK = 80.0
"""exp of a larger logit would overflow a float32."""


def with_vocabulary(logits: NDArray[np.float32], vocab_size: int) -> NDArray[np.float32]:
    """Cut or pad rows of logits to a vocabulary: tokens that a draft model does not have are impossible."""
    num_rows, own_size = logits.shape
    if own_size >= vocab_size:
        return logits[:, :vocab_size]
    padded = np.full((num_rows, vocab_size), -np.inf, np.float32)
    padded[:, :own_size] = logits
    return padded


def _sum_exp(logits: Row, peak: float) -> float:
    """Sum of exp(logits - peak), in this thread's own scratch array: a new one comes from the system page by page,
    which takes longer than the arithmetic. The peak is taken off afterwards where nothing can overflow."""
    scratch: NDArray[np.float32] | None = getattr(_memory, "scratch", None)
    if scratch is None or len(scratch) != len(logits):
        scratch = _memory.scratch = np.empty(len(logits), np.float32)
    if abs(peak) < _SAFE_PEAK:
        return float(np.exp(logits, out=scratch).sum()) * math.exp(-peak)
    np.subtract(logits, np.float32(peak), out=scratch)
    return float(np.exp(scratch, out=scratch).sum())


class RequestRandom:
    """The random numbers of one request: they depend on its seed alone, not on who shares the batch.

    Two independent streams of Philox (Salmon et al. 2011), which counts instead of remembering:

    * `at` is indexed by the position of the generated token. The numbers of a position are looked at only in the
      round that commits a token there: a round looks at them in order, and stops at the first position whose draft
      is refused, which it fills. So whatever chose the draft cannot have seen them, and using the same numbers
      whatever was drafted is no bias. It makes the text independent of the draft where accepting is coupled with
      plain sampling (see `exsa_lab.speculation.rejection_sampling`).
    * `draft_uniform` draws draft tokens and never repeats itself. Draft tokens after a refused one have been seen
      already, and they teach the draft length policy; were their numbers used again for the next draft, what is
      drafted would depend on the choice of how much to draft.

    Example: ``u_accept, u_sample = RequestRandom(seed=1).at(0)``.
    """

    _POSITIONS = 64
    """Positions computed at once; even, since one count of Philox makes the numbers of two."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self._block = -1
        self._numbers: list[list[float]] = []
        # The upper half of Philox's 128-bit key tells the two streams apart.
        self._draft = np.random.Generator(np.random.Philox(key=seed + (1 << 64)))

    def at(self, position: int) -> tuple[float, float]:
        """Return (u_accept, u_sample) of a generated token's position, both in [0, 1)."""
        block, index = divmod(position, self._POSITIONS)
        if block != self._block:
            source = np.random.Philox(key=self.seed, counter=block * self._POSITIONS // 2)
            self._numbers = np.random.Generator(source).random((self._POSITIONS, 2)).tolist()
            self._block = block
        u_accept, u_sample = self._numbers[index]
        return u_accept, u_sample

    def draft_uniform(self) -> float:
        """Return the next number in [0, 1) for drawing a draft token."""
        return float(self._draft.random())


def _find_best(logits: Row) -> tuple[int, float]:
    """Index and value of the largest logit. Numpy's argmax stops at a NaN, so one look at the value finds those too."""
    best = int(logits.argmax())
    peak = float(logits[best])
    if not math.isfinite(peak):
        raise DecodeError(
            "the model's logits are not numbers (NaN or infinite).",
            hint="The file may be damaged, or this device computes it wrongly: try another file or n_gpu_layers=0.",
        )
    return best, peak


def _exp_weights(logits: Row, peak: float, temperature: float) -> NDArray[np.float32]:
    """Probabilities at a temperature, as fractions of the best token's."""
    with np.errstate(over="ignore"):  # too far below the best: -inf, whose weight is 0
        scaled = logits - np.float32(peak)
        if temperature != 1.0:
            scaled /= np.float32(max(temperature, _COLDEST))
    weights: NDArray[np.float32] = np.exp(scaled, out=scaled)
    return weights


def _cut_tail(weights: NDArray[np.float32], top_p: float, min_p: float) -> NDArray[np.intp] | None:
    """Ascending indices that top-p and then min-p keep; None for all.

    Both keep a head of the tokens in falling order, so the shorter head is the result, and only tokens that min-p
    keeps can matter.
    """
    if top_p >= 1.0:
        return np.flatnonzero(weights >= min_p) if min_p > 0.0 else None
    wanted = top_p * float(weights.sum(dtype=np.float64))
    for floor in _NUCLEUS_FLOORS:
        head = np.flatnonzero(weights >= max(floor, min_p))
        if floor <= min_p or float(weights[head].sum(dtype=np.float64)) > wanted:
            break
    falling = np.sort(weights[head])[::-1]
    count = int(np.cumsum(falling, dtype=np.float64).searchsorted(wanted)) + 1
    return head if count >= len(head) else head[_take_largest(weights[head], falling[count - 1], count)]


def _find_largest(values: NDArray[np.float32], count: int) -> NDArray[np.intp]:
    """Ascending indices of the ``count`` largest values (fewer than all), the first among equals."""
    num_blocks = len(values) // _BLOCK
    if num_blocks <= count:
        return _take_largest(values, _nth_largest(values, count), count)
    # The count-th largest of the block maxima is a bound that at least count values reach, and few more do.
    maxima = values[: num_blocks * _BLOCK].reshape(num_blocks, _BLOCK).max(axis=1)
    head = np.flatnonzero(values >= _nth_largest(maxima, count))
    return head[_take_largest(values[head], _nth_largest(values[head], count), count)]


def _nth_largest(values: NDArray[np.float32], n: int) -> np.float32:
    smallest: np.float32 = np.partition(values, len(values) - n)[len(values) - n]
    return smallest


def _take_largest(values: NDArray[np.float32], cutoff: np.float32, count: int) -> NDArray[np.intp]:
    """Ascending indices of the ``count`` largest values, given the smallest one of them; the first among equals."""
    keep = values > cutoff
    equal = np.flatnonzero(values == cutoff)
    keep[equal[: count - np.count_nonzero(keep)]] = True
    return np.flatnonzero(keep)


def _invert_cdf(weights: NDArray[np.float64], u: float) -> int:
    """Index drawn by ``u`` in [0, 1) from unnormalised weights; a long row is searched block by block."""
    if len(weights) <= 4 * _BLOCK:
        return _search(np.cumsum(weights), u)[0]
    starts = np.arange(0, len(weights), _BLOCK)
    sums = np.add.reduceat(weights, starts)
    block, share = _search(np.cumsum(sums), u)
    start = block * _BLOCK
    return start + _search(np.cumsum(weights[start : start + _BLOCK]), share)[0]


def _search(cumulated: NDArray[np.float64], u: float) -> tuple[int, float]:
    """First index whose cumulated weight exceeds the share ``u`` of the total, and how far into its own weight."""
    total = float(cumulated[-1])
    wanted = u * total
    index = int(cumulated.searchsorted(wanted, side="right"))
    if index == len(cumulated):  # u * total was rounded up to the total: take the last index that has any weight
        return int(cumulated.searchsorted(total, side="left")), 1.0
    before = float(cumulated[index - 1]) if index else 0.0
    return index, (wanted - before) / (float(cumulated[index]) - before)
