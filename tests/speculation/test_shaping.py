"""Biases, penalties and suppressed tokens: what they do to a row, and that speculation changes nothing about it."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exsa_lab.config import SamplingParams
from exsa_lab.errors import DecodeError
from exsa_lab.speculation.rejection_sampling import accept
from exsa_lab.speculation.sampling import RequestRandom
from exsa_lab.speculation.shaping import Penalties, Shaping
from tests.speculation.lossless import GRID, misfit
from tests.speculation.test_rejection_sampling import Logits, random_logits

VOCAB = 6
PROMPT = [1, 4, 4, 2]


def penalised(
    row: Logits, text: Sequence[int], *, repeat: float = 1.0, presence: float = 0.0, frequency: float = 0.0, last_n: int
) -> Logits:
    """The rule of llama.cpp, counted anew for every row."""
    window = list(text) if last_n < 0 else list(text)[len(text) - min(last_n, len(text)) :]
    row = row.copy()
    for token in set(window):
        value = row[token] * repeat if row[token] <= 0 else row[token] / repeat
        row[token] = value - window.count(token) * frequency - presence
    return row


tokens = st.integers(0, VOCAB - 1)
drafts = st.lists(tokens, max_size=4)
strengths = st.fixed_dictionaries(
    {
        "repeat": st.sampled_from([1.0, 1.3, 0.5]),
        "presence": st.sampled_from([0.0, 0.5, -1.0]),
        "frequency": st.sampled_from([0.0, 0.25, -0.5]),
        "last_n": st.sampled_from([-1, 1, 2, 3, 64]),
    }
)


@settings(max_examples=300)
@given(strengths, st.lists(st.tuples(st.booleans(), drafts), max_size=12), st.lists(st.integers(-8, 8), min_size=6))
def test_penalties_count_what_is_there_after_any_drafts_and_commits(
    given_strengths: dict[str, Any], moves: list[tuple[bool, list[int]]], values: list[int]
) -> None:
    penalties, text = Penalties(**given_strengths), list[int]()
    row = np.array(values[:VOCAB], np.float32)
    for is_committed, some in moves:
        if is_committed:
            penalties.commit(some)
            text += some
        found, drafted = row.copy(), [] if is_committed else some
        penalties.apply(found, drafted)
        np.testing.assert_allclose(found, penalised(row, text + drafted, **given_strengths), rtol=1e-6)


def test_a_window_of_many_tokens_grows() -> None:
    penalties = Penalties(presence=1.0, last_n=-1)
    penalties.commit(range(500))
    row = np.zeros(600, np.float32)
    penalties.apply(row, [599])
    assert row.tolist() == [-1.0] * 500 + [0.0] * 99 + [-1.0]


def test_the_order_is_bias_penalties_suppressed_mask() -> None:
    class Even:
        def allowed(self, drafted: Sequence[int]) -> np.ndarray[Any, np.dtype[np.bool_]]:
            return np.arange(VOCAB) % 2 == 0

        def forced(self, drafted: Sequence[int]) -> list[int]:
            return []

        def admits(self, drafted: Sequence[int], token: int) -> bool:
            return token % 2 == 0

        def commit(self, tokens: Sequence[int]) -> None: ...

    penalties = Penalties(repeat=2.0, last_n=64)
    penalties.commit([2, 3])
    shaping = Shaping(bias={2: 4.0, 1: 9.0}, penalties=penalties, suppressed=[0], mask=Even())
    row = np.ones(VOCAB, np.float32)
    assert shaping.apply(row, [4]).tolist() == [-math.inf, -math.inf, 2.5, -math.inf, 0.5, -math.inf]
    assert shaping.best(row, [4]) == 2
    assert row.tolist() == [1.0] * VOCAB


def test_where_no_token_is_left_it_says_so() -> None:
    with pytest.raises(DecodeError, match="no token is left"):
        Shaping(suppressed=range(VOCAB)).apply(np.zeros(VOCAB, np.float32), [])


def test_greedy_takes_the_best_of_the_shaped_row() -> None:
    row = np.array([[0, 1, 2, 5, 0, 0]] * 3, np.float32)
    shaping = Shaping(suppressed=[3], penalties=Penalties(presence=1.5, last_n=64))
    verdict = accept([2, 1], [], row, SamplingParams(), RequestRandom(0), 0, shaping=shaping)
    assert (verdict.accepted, verdict.token) == (2, 2)  # 2; then 1, as 2 is penalised; then 2, as 1 is too
    assert verdict.p is not None


# Statistics

OPTIONS: dict[str, dict[str, Any]] = {
    "repeat": {"penalties": {"repeat": 1.8, "last_n": 3}},
    "presence": {"penalties": {"presence": 0.9, "last_n": 64}},
    "frequency": {"penalties": {"frequency": 0.7, "last_n": 2}},
    "bias": {"bias": {0: 1.5, 3: -1.0}},
    "suppressed": {"suppressed": [2, 5]},
}


def maker(option: dict[str, Any]) -> Callable[[], Shaping]:
    def begin() -> Shaping:
        penalties = Penalties(**option["penalties"]) if "penalties" in option else None
        if penalties is not None:
            penalties.commit(PROMPT)
        return Shaping(bias=option.get("bias"), suppressed=option.get("suppressed", ()), penalties=penalties)

    return begin


def reference(option: dict[str, Any]) -> Callable[[Logits, Sequence[int]], Logits]:
    def shape(row: Logits, text: Sequence[int]) -> Logits:
        row = row.copy()
        for token, bias in option.get("bias", {}).items():
            row[token] += bias
        if "penalties" in option:
            row = penalised(row, [*PROMPT, *text], **option["penalties"])
        row[option.get("suppressed", [])] = -np.inf
        return row

    return shape


@pytest.mark.parametrize(("k", "temperature"), GRID)
@pytest.mark.parametrize("has_model", [True, False], ids=["model", "ngram"])
@pytest.mark.parametrize("name", OPTIONS)
def test_text_is_distributed_as_the_shaped_target_alone_would(
    name: str, has_model: bool, k: int, temperature: float
) -> None:
    target, draft = random_logits(11, VOCAB), random_logits(20, VOCAB)
    option, params = OPTIONS[name], SamplingParams(temperature=temperature)
    assert misfit(target, draft if has_model else None, k, params, maker(option), reference(option)) < 1


@pytest.mark.parametrize("name", OPTIONS)
def test_the_statistics_catch_a_shape_that_is_left_out(name: str) -> None:
    target, draft = random_logits(11, VOCAB), random_logits(20, VOCAB)
    plain = maker({})
    assert misfit(target, draft, 2, SamplingParams(temperature=1.0), plain, reference(OPTIONS[name])) > 1.5


def test_the_statistics_catch_penalties_that_do_not_see_the_draft() -> None:
    """The second row is then shaped by the prompt alone."""
    target, draft = random_logits(11, VOCAB), random_logits(20, VOCAB)
    option = {"penalties": {"presence": 0.9, "last_n": 64}}

    def without_draft(row: Logits, text: Sequence[int]) -> Logits:
        return reference(option)(row, [])

    assert misfit(target, draft, 2, SamplingParams(temperature=1.0), maker(option), without_draft) > 1.5
