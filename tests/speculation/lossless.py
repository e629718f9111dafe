"""Statistics of texts of two tokens whose rows are shaped by what stands before them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from exsa_lab.config import SamplingParams
from exsa_lab.speculation.rejection_sampling import accept
from exsa_lab.speculation.sampling import Distribution, RequestRandom
from exsa_lab.speculation.shaping import Shaping
from tests.speculation.test_rejection_sampling import NUM_DRAWS, Logits, excess, remembered_chain

Proposer = Callable[[Shaping, list[int], RequestRandom], tuple[int, Distribution | None]]
"""Draws one draft token after these of a round, the last of which may be the text's own."""


def model_proposer(rows: Logits, last: Callable[[], int], params: SamplingParams) -> Proposer:
    """A draft model, shaped as the target is."""

    def propose(shaping: Shaping, drafted: list[int], random: RequestRandom) -> tuple[int, Distribution | None]:
        q = remembered_chain(shaping.apply(rows[drafted[-1] if drafted else last()], drafted), params)
        return q.sample(random.draft_uniform()), q

    return propose


def chosen_proposer(vocab: int, last: Callable[[], int]) -> Proposer:
    """A lookup: always the same token after the same one, whatever the shaping says."""

    def propose(shaping: Shaping, drafted: list[int], random: RequestRandom) -> tuple[int, Distribution | None]:
        return ((drafted[-1] if drafted else last()) + 1) % vocab, None

    return propose


def misfit(
    target: Logits,
    draft: Logits | None,
    k: int,
    params: SamplingParams,
    begin: Callable[[], Shaping],
    reference: Callable[[Logits, Sequence[int]], Logits],
) -> float:
    """How badly the first two tokens of many texts fit the target (`excess`): above 1 it is refused.

    ``begin`` shapes a new text; ``reference(row, text)`` shapes the row after these tokens, and is written otherwise.
    """
    vocab, last = len(target), 0
    propose = chosen_proposer(vocab, lambda: last) if draft is None else model_proposer(draft, lambda: last, params)
    random, pairs = RequestRandom(1), Counter[tuple[int, ...]]()
    for number in range(NUM_DRAWS):
        shaping, text = begin(), list[int]()
        while len(text) < 2:
            last = text[-1] if text else 0
            tokens: list[int] = []
            dists: list[Distribution | None] = []
            for _ in range(k):
                token, dist = propose(shaping, tokens, random)
                tokens.append(token)
                dists.append(dist)
            rows, position = target[[last, *tokens]], number * 16 + len(text)
            verdict = accept(tokens, dists, rows, params, random, position, shaping=shaping)
            done = [*tokens[: verdict.accepted], verdict.token]
            shaping.commit(done)
            text += done
        pairs[tuple(text[:2])] += 1
    expected = exact_pairs(target, params, reference)
    counts = np.zeros(expected.shape, int)
    for pair, count in pairs.items():
        counts[pair] = count
    return excess(counts.ravel().tolist(), expected.ravel().tolist())


def exact_pairs(
    target: Logits, params: SamplingParams, reference: Callable[[Logits, Sequence[int]], Logits]
) -> NDArray[np.float64]:
    """Exact probabilities of the first two tokens after token 0, shape (vocab, vocab)."""
    vocab = len(target)
    first = softmax(reference(target[0], []), params.temperature)
    after = [
        softmax(reference(target[token], [token]), params.temperature) if first[token] else np.zeros(vocab)
        for token in range(vocab)
    ]
    pairs: NDArray[np.float64] = first[:, None] * np.array(after)
    return pairs


def softmax(row: Logits, temperature: float) -> NDArray[np.float64]:
    scaled = row.astype(np.float64) / temperature
    weights = np.exp(scaled - scaled.max())
    total: NDArray[np.float64] = weights / weights.sum()
    return total
