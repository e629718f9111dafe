"""Models with no weights and engines on them, for our tests and for yours.

Example::

    from exsa_lab.testing import ScriptedModel, scripted_engine

    target = ScriptedModel(["a", "b", "."], lambda tokens: [0.1, 0.8, 0.1], ends=[2])
    with scripted_engine(target) as engine:
        assert engine.generate("a", max_tokens=3).text == "bbb"
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from exsa_lab.config import EngineConfig
from exsa_lab.engine.assembly import Models
from exsa_lab.engine.engine import Engine
from exsa_lab.runtime.scripted import Entry, NextProbs, ScriptedContext, ScriptedModel

__all__ = ["Entry", "NextProbs", "ScriptedContext", "ScriptedModel", "markov", "scripted_engine"]


def scripted_engine(target: ScriptedModel, draft: ScriptedModel | None = None, **config: Any) -> Engine:
    """Return an open engine on scripted models; ``config`` are `EngineConfig` fields."""
    settings = EngineConfig(**{"n_ctx": 2048, **config})
    return Engine(lambda progress: Models(target, draft), settings)


def markov(vocab_size: int, seed: int, *, sharpness: float = 2.0) -> NextProbs:
    """Return next-token distributions that depend on the last two tokens, reproducible by seed.

    ``sharpness`` is the spread of the random logits: 0 is uniform, 5 nearly deterministic.
    """
    table: dict[tuple[int, ...], NDArray[np.float64]] = {}

    def next_probs(tokens: tuple[int, ...]) -> NDArray[np.float64]:
        key = tokens[-2:]
        if key not in table:
            logits = sharpness * np.random.default_rng([seed, *key]).normal(size=vocab_size)
            weights = np.exp(logits - logits.max())
            table[key] = weights / weights.sum()
        return table[key]

    return next_probs
