"""Looks at rows of logits, against a direct softmax."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from exsa_lab.config import SamplingParams
from exsa_lab.speculation.alternatives import IMPOSSIBLE, look, look_at_prompt, look_at_round
from exsa_lab.speculation.rejection_sampling import accept
from exsa_lab.speculation.sampling import Distribution, RequestRandom
from exsa_lab.speculation.shaping import Shaping

Rows = np.ndarray[tuple[int, ...], np.dtype[np.float32]]


def softmax(logits: Rows) -> Rows:
    weights = np.exp(logits.astype(np.float64) - logits.max())
    return weights / weights.sum()


def rows(num: int, size: int = 50, seed: int = 0) -> Rows:
    return np.random.default_rng(seed).normal(size=(num, size), scale=3).astype(np.float32)


@given(st.integers(0, 1000), st.integers(0, 20), st.integers(1, 400))
def test_a_look_is_that_of_a_direct_softmax(seed: int, count: int, size: int) -> None:
    [row] = rows(1, size, seed)
    exact = softmax(row)
    token = seed % size

    seen = look(row, token, count)

    order = sorted(range(size), key=lambda other: (-exact[other], other))[:count]
    assert [other for other, *_ in seen.top] == order
    assert [raw for _, raw, _, _ in seen.top] == pytest.approx([exact[other] for other in order])
    assert seen.logprob == pytest.approx(math.log(exact[token]))
    assert seen.entropy == pytest.approx(-(exact * np.log2(exact)).sum(), abs=1e-9)


def test_equals_stand_in_the_order_of_their_ids() -> None:
    assert [token for token, *_ in look(np.zeros(200, np.float32), 5, 4).top] == [0, 1, 2, 3]


def test_what_cannot_come_has_a_number_all_the_same() -> None:
    row = np.array([0.0, -np.inf], np.float32)
    seen = look(row, 1, 2)
    assert seen.logprob == IMPOSSIBLE
    assert seen.entropy == 0.0
    assert seen.top == ((0, 1.0, None, None), (1, 0.0, None, None))


@pytest.mark.parametrize("temperature", [0.0, 0.7])
def test_a_round_is_looked_at_along_its_draft_before_and_after_the_chain(temperature: float) -> None:
    logits = rows(4)
    params = SamplingParams(temperature=temperature, top_k=10, top_logprobs=5)
    shaping = Shaping(bias={7: 3.0}, suppressed=[int(logits[1].argmax())])
    shaped = [shaping.apply(row, []) for row in logits]
    draft = [int(row.argmax()) for row in shaped[:3]]
    q = [Distribution.from_weights(None, softmax(row)) for row in rows(3, seed=1)]
    verdict = accept(draft, [None] * 3, logits, params, RequestRandom(3), 0, shaping=shaping)

    looks = look_at_round(draft, q, logits, verdict, params, shaping)

    assert len(looks) == verdict.accepted + 1
    tokens = [*draft[: verdict.accepted], verdict.token]
    for index, (seen, token) in enumerate(zip(looks, tokens, strict=True)):
        raw = softmax(logits[index])
        assert seen.logprob == pytest.approx(math.log(raw[token]))
        for other, before, after, drafted in seen.top:
            assert before == pytest.approx(raw[other])
            if temperature:
                kept = np.sort(shaped[index])[-10]
                cut = np.where(shaped[index] >= kept, shaped[index] / np.float32(temperature), -np.inf)
                assert after == pytest.approx(softmax(cut)[other], rel=1e-5)
            else:
                assert after == pytest.approx(softmax(shaped[index])[other], rel=1e-5)
            assert drafted == (pytest.approx(q[index].probs[other]) if index < 3 else None)


def test_tokens_of_a_prompt_are_looked_at_with_the_row_before_them() -> None:
    logits = rows(2)
    seen = look_at_prompt(logits, [4, 9], 0)
    assert [each.logprob for each in seen] == pytest.approx(
        [math.log(softmax(logits[i])[t]) for i, t in enumerate([4, 9])]
    )
    assert [each.top for each in seen] == [(), ()]
