"""The chain against a slow reference, drawing, greedy helpers and the request's random numbers."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from exsa_lab.config import SamplingParams
from exsa_lab.errors import DecodeError
from exsa_lab.speculation.sampling import (
    Distribution,
    RequestRandom,
    apply_chain,
    greedy_token,
    softmax_probability,
    top2_margin,
    top_with_probability,
)

NAN, INF = math.nan, math.inf
LAST_BELOW_ONE = math.nextafter(1.0, 0.0)


def row(*values: float) -> NDArray[np.float32]:
    return np.array(values, np.float32)


def as_dict(distribution: Distribution) -> dict[int, float]:
    """Tokens with a positive probability."""
    ids = range(len(distribution.probs)) if distribution.ids is None else distribution.ids.tolist()
    return {token: prob for token, prob in zip(ids, distribution.probs.tolist(), strict=True) if prob > 0}


def reference_chain(logits: NDArray[np.float32], params: SamplingParams) -> dict[int, float]:
    """The definition, one rule after the other, with a full sort and Python's loops."""
    with np.errstate(over="ignore"):
        weights = np.exp((logits - logits.max()) / np.float32(params.temperature)).tolist()
    tokens = sorted(range(len(logits)), key=lambda token: (-logits[token], token))
    if params.top_k:
        tokens = tokens[: params.top_k]
    tokens.sort(key=lambda token: (-weights[token], token))  # different logits may round to equal weights
    wanted = params.top_p * math.fsum(weights[token] for token in tokens)
    nucleus: list[int] = []
    for token in tokens:
        nucleus.append(token)
        if params.top_p < 1 and math.fsum(weights[t] for t in nucleus) >= wanted:
            break
    kept = [token for token in nucleus if weights[token] >= params.min_p]
    total = math.fsum(weights[token] for token in kept)
    return {token: weights[token] / total for token in sorted(kept) if weights[token] > 0}


# Eighths are exact in float32 and tie often; -inf is a token the model forbids.
logit = st.one_of(st.integers(-24, 24).map(lambda n: n / 8), st.just(-INF), st.floats(-30, 30, width=32))
rows = st.lists(logit, min_size=1, max_size=40).filter(lambda v: max(v) > -INF).map(lambda v: row(*v))
chains = st.builds(
    SamplingParams,
    temperature=st.sampled_from([0.3, 0.5, 1.0, 1.7]),
    top_k=st.integers(0, 12),
    top_p=st.sampled_from([0.1, 0.37, 0.9, 0.993, 1.0]),
    min_p=st.sampled_from([0.0, 0.02, 0.1, 0.6, 1.0]),
)


@settings(max_examples=300)
@given(rows, chains)
def test_chain_follows_its_definition(logits: NDArray[np.float32], params: SamplingParams) -> None:
    assert as_dict(apply_chain(logits, params)) == pytest.approx(reference_chain(logits, params), rel=1e-9)


@pytest.mark.parametrize(
    "cuts",
    [
        {"top_k": 40},
        {"top_k": 700},
        {"top_k": 4000},
        {"top_p": 0.3},
        {"top_p": 0.97},
        {"min_p": 0.05},
        {"min_p": 1e-4, "top_p": 0.6},
        {"top_k": 40, "top_p": 0.9, "min_p": 0.05},
    ],
    ids=str,
)
@pytest.mark.parametrize("spread", [0.4, 2.0, 8.0])
@pytest.mark.parametrize("grid", [0.0, 0.25], ids=["distinct", "ties"])
def test_chain_on_a_long_row(cuts: dict[str, float], spread: float, grid: float) -> None:
    exact = spread * np.random.default_rng(3).standard_normal(4999)
    logits = (np.round(exact / grid) * grid if grid else exact).astype(np.float32)
    params = SamplingParams.from_kwargs(temperature=0.9, **cuts)
    # math.fsum over every head would take minutes here.
    weights = np.exp((logits - logits.max()) / np.float32(0.9))
    order = np.argsort(-logits, kind="stable")[: params.top_k or None]
    if params.top_p < 1:
        cumulated = np.cumsum(weights[order], dtype=np.float64)
        order = order[: int(cumulated.searchsorted(params.top_p * cumulated[-1])) + 1]
    expected = np.sort(order[weights[order] >= params.min_p])
    distribution = apply_chain(logits, params)
    assert distribution.ids is not None
    assert distribution.ids.tolist() == expected.tolist()
    np.testing.assert_allclose(distribution.probs, weights[expected] / weights[expected].sum(dtype=np.float64))


def test_temperature_one_is_the_softmax() -> None:
    logits = (3 * np.random.default_rng(1).standard_normal(2000)).astype(np.float32)
    exact = np.exp(logits.astype(np.float64))
    distribution = apply_chain(logits, SamplingParams(temperature=1.0))
    assert distribution.ids is None
    np.testing.assert_allclose(distribution.probs, exact / exact.sum(), rtol=1e-5)
    assert distribution.probs.sum() == pytest.approx(1.0, abs=1e-12)


def test_cut_distributions_are_sparse_with_ascending_ids() -> None:
    logits = row(1, 5, 2, 4, 3)
    for cut in ({"top_k": 3}, {"top_p": 0.9}, {"min_p": 0.1}):
        distribution = apply_chain(logits, SamplingParams.from_kwargs(temperature=1.0, **cut))
        assert distribution.ids is not None
        assert distribution.ids.dtype == np.int32
        assert distribution.ids.tolist() == [1, 3, 4]


def test_the_lower_id_wins_among_equals() -> None:
    logits = row(0, 2, 2, 2, 1)
    assert greedy_token(logits) == 1
    assert list(as_dict(apply_chain(logits, SamplingParams(temperature=1.0, top_k=2)))) == [1, 2]
    assert list(as_dict(apply_chain(logits, SamplingParams(temperature=1.0, top_p=0.4)))) == [1, 2]
    assert list(as_dict(apply_chain(logits, SamplingParams(temperature=1.0, min_p=1.0)))) == [1, 2, 3]


@pytest.mark.parametrize("params", [SamplingParams(), SamplingParams(temperature=2.0, top_k=1)], ids=["cold", "top_k"])
def test_one_token_left_is_one_hot(params: SamplingParams) -> None:
    distribution = apply_chain(row(0, 3, 1), params)
    assert distribution.is_one_hot
    assert distribution.sample(LAST_BELOW_ONE) == 1
    assert [distribution.probability(token) for token in range(3)] == [0, 1, 0]


@pytest.mark.parametrize("temperature", [1e-300, 1e-40, 1e-6])
def test_cold_temperatures_choose_the_best(temperature: float) -> None:
    logits = row(-3e38, 2, 3, 3e38, -INF)
    assert as_dict(apply_chain(logits, SamplingParams(temperature=temperature))) == {3: 1.0}


def test_hot_temperature_is_nearly_uniform() -> None:
    distribution = apply_chain(row(0, 1, 2, -INF), SamplingParams(temperature=100.0))
    np.testing.assert_allclose(distribution.probs, [1 / 3, 1 / 3, 1 / 3, 0], atol=0.01)


@pytest.mark.parametrize("bad", [row(0, NAN, 9), row(NAN, NAN), row(1, INF), row(-INF, -INF)], ids=str)
def test_logits_that_are_not_numbers_are_refused(bad: NDArray[np.float32]) -> None:
    for params in (SamplingParams(), SamplingParams(temperature=1.0), SamplingParams(temperature=1.0, top_k=1)):
        with pytest.raises(DecodeError, match="not numbers"):
            apply_chain(bad, params)
    for function in (greedy_token, top_with_probability, top2_margin):
        with pytest.raises(DecodeError, match="not numbers"):
            function(bad)
    with pytest.raises(DecodeError, match="not numbers"):
        softmax_probability(bad, 0)


def test_a_nan_is_found_anywhere_in_a_long_row() -> None:
    for index in (0, 1, 777, 49_151):
        logits = np.zeros(49_152, np.float32)
        logits[index] = NAN
        with pytest.raises(DecodeError):
            greedy_token(logits)


# Distribution


@given(rows, chains, st.integers(0, 39))
def test_probability_looks_tokens_up(logits: NDArray[np.float32], params: SamplingParams, token: int) -> None:
    distribution = apply_chain(logits, params)
    token %= len(logits)
    assert distribution.probability(token) == as_dict(distribution).get(token, 0.0)
    ids = np.arange(len(logits), dtype=np.int32)[::-1]
    assert distribution.probabilities(ids).tolist() == [distribution.probability(int(i)) for i in ids]


weights_with_zeros = st.lists(
    st.one_of(st.just(0.0), st.floats(1e-12, 1.0), st.just(5e-324)), min_size=1, max_size=30
).filter(lambda w: sum(w) > 0)


@given(weights_with_zeros, st.one_of(st.floats(0, LAST_BELOW_ONE), st.sampled_from([0.0, LAST_BELOW_ONE])))
def test_sample_inverts_the_cdf(weights: list[float], u: float) -> None:
    distribution = Distribution.from_weights(None, np.array(weights))
    token = distribution.sample(u)
    assert distribution.probs[token] > 0
    below, upto = distribution.probs[:token].sum(), distribution.probs[: token + 1].sum()
    assert below - 1e-12 <= u <= upto + 1e-12


@pytest.mark.parametrize("size", [4096, 4097, 49_152])
def test_sample_from_a_long_row(size: int) -> None:
    generator = np.random.default_rng(size)
    weights = generator.random(size) ** 20
    weights[generator.random(size) < 0.5] = 0.0
    weights[-100:] = 0.0
    distribution = Distribution.from_weights(None, weights)
    cumulated = np.cumsum(distribution.probs)
    for u in [0.0, LAST_BELOW_ONE, *generator.random(2000)]:
        token = distribution.sample(u)
        assert distribution.probs[token] > 0
        assert cumulated[token] - distribution.probs[token] - 1e-9 <= u <= cumulated[token] + 1e-9


def test_sample_uses_the_tokens_ids() -> None:
    distribution = Distribution(np.array([3, 7], np.int32), np.array([0.25, 0.75]))
    assert [distribution.sample(u) for u in (0.0, 0.2499, 0.25, LAST_BELOW_ONE)] == [3, 3, 7, 7]


# Greedy helpers


@given(rows)
def test_softmax_probability_is_the_softmax(logits: NDArray[np.float32]) -> None:
    exact = np.exp(logits.astype(np.float64) - float(logits.max()))
    exact /= exact.sum()
    best = greedy_token(logits)
    assert best == int(np.argmax(logits))
    assert top_with_probability(logits) == (best, softmax_probability(logits, best))
    found = [softmax_probability(logits, token) for token in range(len(logits))]
    np.testing.assert_allclose(found, exact, rtol=1e-5)


def test_top2_margin() -> None:
    assert top2_margin(row(1, 4, 2.5)) == 1.5
    assert top2_margin(row(4, 1, 4)) == 0
    assert top2_margin(row(0, 1, 9)) == 8
    assert top2_margin(row(3)) == INF


# Random numbers


@given(st.integers(0, 2**64 - 1), st.lists(st.integers(0, 10_000), min_size=1, max_size=20))
def test_numbers_of_a_position_depend_on_seed_and_position_alone(seed: int, positions: list[int]) -> None:
    random = RequestRandom(seed)
    numbers = []
    for position in positions:
        numbers.append(random.at(position))
        random.draft_uniform()
    assert numbers == [RequestRandom(seed).at(position) for position in positions]


def test_numbers_of_positions_are_one_philox_stream() -> None:
    stream = np.random.Generator(np.random.Philox(key=5)).random((1000, 2))
    random = RequestRandom(5)
    assert [random.at(position) for position in range(1000)] == [tuple(pair) for pair in stream.tolist()]


def test_streams_of_seeds_and_of_drafts_are_unrelated() -> None:
    columns = []
    for seed in (0, 1, 2**64 - 1):
        random = RequestRandom(seed)
        columns += list(zip(*(random.at(position) for position in range(4000)), strict=True))
        columns.append(tuple(random.draft_uniform() for _ in range(4000)))
    numbers = np.array(columns)
    assert numbers.min() >= 0
    assert numbers.max() < 1
    correlation = np.corrcoef(numbers) - np.eye(len(columns))
    assert np.abs(correlation).max() < 4.5 / math.sqrt(4000)
    deciles = np.array([np.histogram(column, 10, (0, 1))[0] for column in numbers])
    assert (((deciles - 400) ** 2 / 400).sum(axis=1) < 27.9).all()  # chi-square, 9 degrees of freedom, p = 1e-3


def test_draft_numbers_are_never_repeated() -> None:
    random = RequestRandom(9)
    numbers = [random.draft_uniform() for _ in range(1000)]
    numbers += [number for position in range(1000) for number in random.at(position)]
    numbers += [random.draft_uniform() for _ in range(1000)]
    assert len(set(numbers)) == 4000
