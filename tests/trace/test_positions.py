"""Distributions computed again from a trace are those the engine decided by."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest

from exsa_lab.engine.engine import Engine
from exsa_lab.errors import ConfigError
from exsa_lab.events import RejectedEvent, Rejection, Source, TokenEvent
from exsa_lab.speculation.rejection_sampling import accept
from exsa_lab.speculation.sampling import Distribution, RequestRandom
from exsa_lab.testing import ScriptedModel, markov, scripted_engine
from exsa_lab.trace.positions import MAX_POSITIONS, common_probability, match_probability

PIECES = [chr(ord("a") + i) for i in range(20)]
PARAMS = {"temperature": 0.7, "top_k": 6}


@pytest.fixture
def engine() -> Iterator[Engine]:
    draft = ScriptedModel(PIECES, markov(20, 2, sharpness=1.0))
    with scripted_engine(ScriptedModel(PIECES, markov(20, 1)), draft) as engine:
        yield engine


def test_what_is_read_is_what_the_engine_decided_by(engine: Engine) -> None:
    gen = engine.generate("abc" * 20, max_tokens=70, chat=False, draft_length=3, seed=1, **PARAMS)
    places = gen.positions()

    assert len(places) == len(places.target) == 70
    tested = 0
    for event in gen.events:
        if not isinstance(event, TokenEvent | RejectedEvent) or event.p is None:
            continue
        assert places.p(event.position, **PARAMS).probability(event.token_id) == pytest.approx(event.p, abs=1e-5)
        # After a refusal the drafted text is no longer the committed one: only tested tokens can be looked up.
        if event.q is not None and getattr(event, "reason", Rejection.REFUSED) is Rejection.REFUSED:
            assert places.q(event.position, **PARAMS).probability(event.token_id) == pytest.approx(event.q, abs=1e-5)
            tested += 1
    assert tested > 30


def test_texts_and_names(engine: Engine) -> None:
    gen = engine.generate("ab", max_tokens=5, chat=False, draft_length=0)
    places = engine.positions(gen.trace)
    assert places.text(5) == gen.text
    assert places.text(0) == ""
    assert places.name(gen.tokens[0]) == gen.text[0]


def test_the_common_probability_is_how_often_the_rule_accepts() -> None:
    generator = np.random.default_rng(3)
    p_probs, q_probs = generator.dirichlet(np.ones(6), 2)
    p, q = Distribution(None, p_probs), Distribution(None, q_probs)
    rows = np.log(np.array([p_probs, p_probs], np.float32))
    random, count, kept = RequestRandom(5), 4000, 0
    from exsa_lab.config import SamplingParams

    for n in range(count):
        guess = q.sample(random.draft_uniform())
        kept += accept([guess], [q], rows, SamplingParams(temperature=1.0), random, 2 * n).source is Source.BONUS
    assert kept / count == pytest.approx(common_probability(p, q), abs=0.03)
    assert match_probability(p, q) == pytest.approx(float(p_probs @ q_probs))
    sparse = Distribution(np.array([1, 4], np.int32), np.array([0.5, 0.5]))
    assert common_probability(sparse, q) == pytest.approx(min(0.5, q_probs[1]) + min(0.5, q_probs[4]))
    assert common_probability(q, sparse) == pytest.approx(common_probability(sparse, q))
    assert match_probability(q, sparse) == pytest.approx(0.5 * (q_probs[1] + q_probs[4]))


def test_what_cannot_be_read_is_refused_in_words(engine: Engine) -> None:
    trace = engine.generate("ab", max_tokens=4, chat=False).trace
    with pytest.raises(ConfigError, match="prompt's tokens"):
        engine.positions(replace(trace, prompt_ids=[]))
    with pytest.raises(ConfigError, match=f"at most {MAX_POSITIONS}"):
        engine.positions(replace(trace, events=trace.events * 300))
    with pytest.raises(ConfigError, match="another's"):
        engine.positions(replace(trace, models={"target": "another"}))
    with scripted_engine(ScriptedModel(PIECES, markov(20, 1))) as alone:
        places = alone.positions(trace)
        assert places.draft is None
        with pytest.raises(ConfigError, match="no draft model"):
            places.q(0)
