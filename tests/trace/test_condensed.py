"""A position in short still tells what its tokens weigh, at any temperature."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from exsa_lab.trace.condensed import MOST, condense


def row(seed: int, size: int = 5000, spread: float = 3.0) -> np.ndarray:
    return (spread * np.random.default_rng(seed).normal(size=size)).astype(np.float32)


@given(st.integers(0, 50), st.floats(0.5, 3.0), st.floats(0.5, 5.0))
def test_the_rest_weighs_what_its_tokens_weigh(seed: int, temperature: float, spread: float) -> None:
    logits = row(seed, spread=spread)
    found = condense(logits, None)
    rest = np.delete(logits.astype(np.float64), found.ids)
    wanted = np.exp(rest / temperature).sum()
    weight = sum(n * np.exp(m / temperature) * (1 + v / (2 * temperature**2)) for n, m, v in found.target_rest)
    assert weight == pytest.approx(wanted, rel=1e-3)
    assert sum(bin_[0] for bin_ in found.target_rest) == len(rest)


def test_the_best_of_both_models_are_kept_with_their_logits() -> None:
    target, draft = row(1), row(2)
    found = condense(target, draft, also=(7,))
    kept = set(found.ids.tolist())
    assert {7, *np.argsort(target)[-MOST:].tolist(), *np.argsort(draft)[-MOST:].tolist()} == kept
    assert found.ids.tolist() == sorted(kept)
    assert found.draft is not None
    assert found.target == [pytest.approx(float(target[token]), abs=1e-5) for token in found.ids]
    assert found.draft == [pytest.approx(float(draft[token]), abs=1e-5) for token in found.ids]
    assert max(bin_[1] for bin_ in found.target_rest) <= np.sort(target)[-MOST]


def test_impossible_tokens_are_in_no_bin() -> None:
    logits = row(3, size=300)
    logits[100:] = -np.inf
    found = condense(logits, None, also=(250,))
    assert found.target[found.ids.tolist().index(250)] is None
    assert sum(bin_[0] for bin_ in found.target_rest) == 0


def test_a_small_vocabulary_is_kept_whole() -> None:
    found = condense(row(4, size=12), row(5, size=12))
    assert found.ids.tolist() == list(range(12))
    assert found.target_rest == found.draft_rest == []
