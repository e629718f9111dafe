"""Statistics of short texts whose rows are shaped by what stands before them."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import Any
from unittest.mock import patch

import numpy as np
from numpy.typing import NDArray

from exsa_lab.config import SamplingParams
from exsa_lab.speculation import rejection_sampling
from exsa_lab.speculation.rejection_sampling import accept, residual
from exsa_lab.speculation.sampling import Distribution, apply_chain
from exsa_lab.speculation.shaping import Shaping
from tests.speculation.test_rejection_sampling import NUM_DRAWS, Logits, excess

Text = tuple[int, ...]
Reference = Callable[[Logits, Sequence[int]], Logits]
GRID = [(k, temperature) for k in (1, 2, 3, 4) for temperature in (0.5, 1.0)]
"""Draft lengths and temperatures of all statistics."""


class Numbers:
    """Random numbers of draws that have nothing to do with each other: a request's own are tested elsewhere."""

    def __init__(self, seed: int) -> None:
        self._source = np.random.default_rng(seed)
        self._numbers: list[tuple[float, float]] = []

    def at(self, position: int) -> tuple[float, float]:
        if not self._numbers:
            self._numbers = [(u_accept, u_sample) for u_accept, u_sample in self._source.random((4096, 2)).tolist()]
        return self._numbers.pop()


class Walks:
    """Draws many texts by rounds of draft and accept.

    Texts that stand at the same place are drawn for together: what shaping and chain make of a row is computed once,
    the drafts that so many texts get are split by their probabilities, and `accept` decides on each.
    """

    def __init__(
        self,
        target: Logits,
        draft: Logits | None,
        params: SamplingParams,
        begin: Callable[[], Shaping],
        *,
        length: int,
        jumps: bool = False,
    ) -> None:
        """``draft`` None proposes one token after each, as a lookup does; ``jumps`` adds what a mask forces."""
        self._target, self._draft, self._params, self._begin = target, draft, params, begin
        self._length, self._jumps = length, jumps
        self._random: Any = Numbers(1)
        self._split = np.random.default_rng(2)
        self._shapings: dict[Text, Shaping] = {}
        self._rows: dict[tuple[bool, Text, Text], Logits] = {}
        self._chains: dict[int, Distribution] = {}
        self._residuals: dict[tuple[int, int], Distribution] = {}
        self.texts: Counter[Text] = Counter()

    def draw(self, k: int) -> Counter[Text]:
        with (
            patch.object(rejection_sampling, "apply_chain", self._chain),
            patch.object(rejection_sampling, "residual", self._residual),
        ):
            self._go_on((), NUM_DRAWS, k)
        return self.texts

    def _go_on(self, text: Text, num: int, k: int) -> None:
        """So many texts stand here: draft, verify and commit for each."""
        if len(text) >= self._length or self._is_complete(text):
            self.texts[text[: self._length]] += num
            return
        found: Counter[Text] = Counter()
        for draft, dists, count in self._drafts(text, (), num, k):
            rows = self._target[[text[-1] if text else 0, *draft]]
            for _ in range(count):
                shaping: Any = _Remembered(self, text)
                verdict = accept(draft, dists, rows, self._params, self._random, 0, shaping=shaping)
                found[(*draft[: verdict.accepted], verdict.token)] += 1
        for done, count in found.items():
            ends = (num for num in range(1, len(done)) if self._is_complete(text + done[:num]))
            longer = text + done[: next(ends, len(done))]
            self._go_on(longer + (self._forced(longer) if self._jumps else ()), count, k)

    def _drafts(
        self, text: Text, draft: Text, num: int, k: int
    ) -> Iterator[tuple[Text, list[Distribution | None], int]]:
        """The drafts that so many texts get, each with what it was drawn from and how often."""
        if len(draft) == k:
            yield draft, [], num
            return
        last = (*text, *draft, 0)[len(text) + len(draft) - 1] if text or draft else 0
        if self._draft is None:
            parts: dict[int, int] = {(last + 1) % len(self._target): num}
            q = None
        else:
            q = self._chain(self.row(True, text, draft), self._params)
            weights = q.probabilities(np.arange(len(self._target), dtype=np.int32))
            parts = dict(enumerate(self._split.multinomial(num, weights).tolist()))
        for token, count in parts.items():
            if count:
                for path, dists, times in self._drafts(text, (*draft, token), count, k):
                    yield path, [q, *dists], times

    def row(self, is_draft: bool, text: Text, drafted: Text) -> Logits:
        """A row of target or draft, shaped after a committed text and drafted tokens."""
        key = (is_draft, text, drafted)
        if key not in self._rows:
            rows = self._draft if is_draft else self._target
            assert rows is not None
            before = (*text, *drafted)
            self._rows[key] = self._shaping(text).apply(rows[before[-1] if before else 0], list(drafted))
        return self._rows[key]

    def _shaping(self, text: Text) -> Shaping:
        if text not in self._shapings:
            self._shapings[text] = shaping = self._begin()
            for token in text:
                shaping.commit([token])
        return self._shapings[text]

    def _is_complete(self, text: Text) -> bool:
        mask: Any = self._shaping(text).mask
        return mask is not None and bool(mask.is_complete)

    def _forced(self, text: Text) -> Text:
        mask: Any = self._shaping(text).mask
        return () if mask.is_complete else tuple(mask.forced())

    def _chain(self, row: Logits, params: SamplingParams) -> Distribution:
        if id(row) not in self._chains:  # rows are kept, so none takes the place of another
            self._chains[id(row)] = apply_chain(row, params)
        return self._chains[id(row)]

    def _residual(self, p: Distribution, q: Distribution) -> Distribution:
        key = id(p), id(q)
        if key not in self._residuals:
            self._residuals[key] = residual(p, q)
        return self._residuals[key]


class _Remembered:
    """What `accept` asks a shaping for."""

    def __init__(self, walks: Walks, text: Text) -> None:
        self._walks, self._text = walks, text

    def apply(self, row: Logits, drafted: Sequence[int]) -> Logits:
        return self._walks.row(False, self._text, tuple(drafted))

    def only(self, row: Logits, drafted: Sequence[int]) -> int | None:
        possible = np.flatnonzero(np.isfinite(self.apply(row, drafted)))
        return int(possible[0]) if len(possible) == 1 else None


def misfit(
    target: Logits,
    draft: Logits | None,
    k: int,
    params: SamplingParams,
    begin: Callable[[], Shaping],
    reference: Reference,
    *,
    length: int = 2,
    jumps: bool = False,
) -> float:
    """How badly the first tokens of many texts fit the target (`excess`): above 1 it is refused.

    ``begin`` shapes a new text; ``reference(row, text)`` shapes the row after these tokens, and is written otherwise.
    """
    seen = Walks(target, draft, params, begin, length=length, jumps=jumps).draw(k)
    exact = exact_texts(target, params, reference, length)
    if not seen.keys() <= exact.keys():
        return math.inf  # an impossible text was seen
    return excess([seen[text] for text in exact], exact.values())


def exact_texts(
    target: Logits, params: SamplingParams, reference: Reference, length: int, text: Text = (), share: float = 1.0
) -> dict[Text, float]:
    """Exact probabilities of the first tokens after token 0; a text that nothing may follow is shorter."""
    row = reference(target[text[-1] if text else 0], text) if len(text) < length else np.array([-np.inf])
    if not np.isfinite(row).any():
        return {text: share}
    found: dict[Text, float] = {}
    for token, probability in enumerate(softmax(row, params.temperature)):
        if probability:
            found |= exact_texts(target, params, reference, length, (*text, token), share * float(probability))
    return found


def softmax(row: Logits, temperature: float) -> NDArray[np.float64]:
    scaled = row.astype(np.float64) / temperature
    weights = np.exp(scaled - scaled.max())
    total: NDArray[np.float64] = weights / weights.sum()
    return total
