"""From parameters to shaped logits, through the whole engine."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pytest

from exsa_lab.errors import ConfigError
from exsa_lab.structure.request import begin_shaping
from exsa_lab.testing import ScriptedModel, markov, scripted_engine
from tests.engine.parts import LETTERS, sequence

END = 8
PROMPTS = ("abc", "gfedcba", "hhh", "dab")
PIECES = [*"abcdefgh", "."]


def model(seed: int, **options: Any) -> ScriptedModel:
    return ScriptedModel(PIECES, markov(9, seed), ends=[END], **options)


def test_nothing_to_shape_costs_nothing() -> None:
    assert sequence().shaping is None
    assert sequence(repeat_penalty=1.3, penalty_last_n=0).shaping is None
    assert sequence(repeat_penalty=1.3).shaping is not None


def test_tokens_are_named_by_number_or_text() -> None:
    shaping = sequence(logit_bias={"b": 1.0, "3": 2.0}, suppress_tokens=["c", 4]).shaping
    assert shaping is not None
    row = shaping.apply(np.zeros(9, np.float32), [])
    assert row.tolist() == [0, 1, -np.inf, 2, -np.inf, 0, 0, 0, 0]


@pytest.mark.parametrize(
    ("params", "what"),
    [
        ({"logit_bias": {9: 1.0}}, "logit_bias names token 9, which scripted does not have"),
        ({"suppress_tokens": ["ab"]}, "suppress_tokens names 'ab', which is not one token of scripted but 2"),
    ],
)
def test_a_token_that_the_model_does_not_have_is_named(params: dict[str, Any], what: str) -> None:
    with pytest.raises(ConfigError, match=what):
        sequence(**params)
    with scripted_engine(LETTERS) as engine:
        gen = engine.submit("abc", **params)
        other = engine.generate("abc", max_tokens=2)
        assert len(other.tokens) == 2
        gen.wait(60)
        assert isinstance(gen.error, ConfigError)


def test_the_models_own_suppressed_tokens_are_never_generated() -> None:
    with scripted_engine(model(1, suppressed=[0, END]), model(2)) as engine:
        for drafter in ("none", "model", "ngram"):
            tokens = engine.generate("abc", max_tokens=200, temperature=1.0, seed=1, drafter=drafter).tokens
            assert len(tokens) == 200
            assert not {0, END}.intersection(tokens)


SHAPES: list[dict[str, Any]] = [
    {"repeat_penalty": 1.5},
    {"presence_penalty": 1.0, "penalty_last_n": -1},
    {"frequency_penalty": 0.8, "penalty_last_n": 5},
    {"logit_bias": {"a": 2.0, "b": -2.0}},
    {"suppress_tokens": ["c", END]},
]


@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: next(iter(shape)))
@pytest.mark.parametrize("drafter", ["model", "ngram"])
def test_greedy_text_is_that_of_plain_decoding(shape: dict[str, Any], drafter: str) -> None:
    with scripted_engine(model(1), model(2)) as engine:
        unshaped = [engine.generate(prompt, max_tokens=64, draft_length=0).tokens for prompt in PROMPTS]
        shaped = [engine.generate(prompt, max_tokens=64, draft_length=0, **shape).tokens for prompt in PROMPTS]
        assert shaped != unshaped
        num_drafted = 0
        for prompt, plain in zip(PROMPTS, shaped, strict=True):
            for k in (1, 2, 4):
                drafted = engine.generate(prompt, max_tokens=64, drafter=drafter, draft_length=k, **shape)
                assert drafted.tokens == plain
                num_drafted += drafted.stats.drafted_tokens
    assert num_drafted or drafter == "ngram"  # lookup finds little in a text that does not repeat itself


def test_lookup_with_a_seed_gives_the_text_of_plain_sampling() -> None:
    params = {"temperature": 1.0, "seed": 3, "repeat_penalty": 1.3, "max_tokens": 64, "suppress_tokens": [END]}
    with scripted_engine(model(1)) as engine:
        plain = engine.generate("abcabc", draft_length=0, **params)
        drafted = engine.generate("abcabc", drafter="ngram", draft_length=3, **params)
    assert drafted.tokens == plain.tokens
    assert drafted.stats.accepted_tokens


def test_a_draft_without_any_allowed_token_drafts_nothing() -> None:
    """The draft's only possible token is suppressed: the target goes on alone."""
    draft = ScriptedModel(PIECES, lambda tokens: [1.0] + [0.0] * 8, ends=[END])
    with scripted_engine(model(1), draft) as engine:
        gen = engine.generate("abc", max_tokens=32, drafter="model", draft_length=2, suppress_tokens=[0, END])
        assert len(gen.tokens) == 32
        assert not gen.stats.drafted_tokens


def test_penalties_make_a_text_less_repetitive() -> None:
    with scripted_engine(model(3)) as engine:
        texts = [
            engine.generate("abc", max_tokens=100, suppress_tokens=[END], frequency_penalty=penalty).tokens
            for penalty in (0.0, 2.0)
        ]
    most = [Counter(tokens).most_common(1)[0][1] for tokens in texts]
    assert most[1] < most[0]


def test_the_model_alone_may_ask_for_it() -> None:
    params = sequence().params
    assert begin_shaping(params, LETTERS, [0]) is None
    assert begin_shaping(params, model(1, suppressed=[2]), [0]) is not None
