"""Runs to draw: of a pair that agrees now and then, and what steps cost somewhere."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from exsa_lab.costs.model import CostModel
from exsa_lab.engine.engine import Engine
from exsa_lab.testing import ScriptedModel, markov, scripted_engine


@pytest.fixture(scope="package")
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


@pytest.fixture
def costs() -> CostModel:
    return CostModel.from_measurements({1: 0.01, 2: 0.012, 4: 0.016, 8: 0.03, 16: 0.06}, {1: 0.001})
