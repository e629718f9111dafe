"""Comparing runs: the bootstrap and concurrency."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from exsa_lab import plots
from exsa_lab.engine.engine import Engine
from exsa_lab.testing import ScriptedModel, markov, scripted_engine


@pytest.fixture(scope="module")
def engine() -> Iterator[Engine]:
    right, wrong = markov(20, 1), markov(20, 2)
    pieces = [chr(97 + i) for i in range(20)]
    draft = ScriptedModel(pieces, lambda tokens: 0.7 * np.asarray(right(tokens)) + 0.3 * np.asarray(wrong(tokens)))
    with scripted_engine(ScriptedModel(pieces, right), draft, n_seq_max=4) as engine:
        yield engine


@pytest.fixture(scope="module")
def gens(engine: Engine) -> list[Any]:
    options = {"max_tokens": 60, "chat": False, "drafter": "model", "progress": False}
    greedy = engine.map(["abc", "bcd"], draft_length=4, **options)
    return [*greedy, *engine.map(["abc"], draft_length=3, temperature=0.8, seed=1, **options)]


def test_bootstrap_finds_a_difference_and_none() -> None:
    rng = np.random.default_rng(3)
    a = rng.normal(100, 5, 30)
    ratio, low, high = plots.bootstrap_ratio(a, a * 1.1, paired=True)
    assert ratio == pytest.approx(1.1)
    assert (low, high) == pytest.approx((1.1, 1.1))
    _, low, high = plots.bootstrap_ratio(a, rng.normal(100, 5, 30))
    assert low < 1 < high
    _, low, high = plots.bootstrap_ratio(a, rng.normal(120, 5, 30))
    assert 1.1 < low < 1.2 < high < 1.3
    for wrong in (([], [1.0], False), ([1.0, 2.0], [1.0], True)):
        with pytest.raises(ValueError, match="compared"):
            plots.bootstrap_ratio(wrong[0], wrong[1], paired=wrong[2])


def test_bootstrap_intervals_cover_the_truth() -> None:
    rng = np.random.default_rng(11)
    covered = 0
    for i in range(200):
        a, b = rng.normal(10, 1, 25), rng.normal(12, 1, 25)
        _, low, high = plots.bootstrap_ratio(a, b, samples=400, seed=i)
        covered += low <= 1.2 <= high
    assert 175 <= covered <= 200


def test_concurrency_uses_all_requests(gens: list[Any]) -> None:
    load = plots.concurrency_records({2: gens[:2]})[0]
    wall = max(gen.trace.rounds[-1].time_s for gen in gens[:2])
    assert load.tokens_per_second == pytest.approx(120 / wall)
    assert load.ttft_p50 <= load.ttft_p95
    assert load.gap_p50 <= load.gap_p95
