"""Quality numbers are right on models whose distributions are known."""

from __future__ import annotations

import numpy as np
import pytest

from exsa_lab.config import EngineConfig
from exsa_lab.errors import ConfigError, VocabularyMismatch
from exsa_lab.models.quality import Quality, bundled_text, compare, measure_quality
from exsa_lab.runtime.scripted import ScriptedModel

PIECES = ["a", "b", "c", "d"]
CONFIG = EngineConfig(n_ctx=256, n_seq_max=1, n_batch=32)
P, Q = np.array([0.4, 0.3, 0.2, 0.1]), np.array([0.25, 0.35, 0.2, 0.2])


def model(probs: np.ndarray) -> ScriptedModel:
    return ScriptedModel(PIECES, lambda _tokens: list(probs))


def test_against_itself() -> None:
    found = compare(model(P), model(P), "abcd" * 30, CONFIG, 1)
    assert found.kl == pytest.approx(0, abs=1e-6)
    assert found.top1_agreement == 1
    assert found.perplexity_a == pytest.approx(found.perplexity_b)
    assert found.tokens == 119


def test_known_distributions() -> None:
    found = compare(model(P), model(Q), "abcd" * 32, CONFIG, 1)
    assert found.kl == pytest.approx((P * np.log(P / Q)).sum(), rel=1e-4)
    assert found.top1_agreement == 0
    following = [i % 4 for i in range(1, 128)]
    assert found.perplexity_a == pytest.approx(np.exp(-np.log(P[following]).mean()), rel=1e-4)
    assert found.perplexity_b == pytest.approx(np.exp(-np.log(Q[following]).mean()), rel=1e-4)


def test_progress_ends_at_one_and_the_text_is_cut_to_the_context() -> None:
    seen: list[float] = []
    found = compare(model(P), model(P), "abcd" * 200, CONFIG, 1, seen.append)
    assert found.tokens == 255
    assert seen[-1] == 1.0
    assert seen == sorted(seen)


def test_texts_and_models_that_cannot_be_compared() -> None:
    with pytest.raises(ConfigError, match="less than two tokens"):
        compare(model(P), model(P), "a", CONFIG, 1)
    with pytest.raises(VocabularyMismatch):
        compare(model(P), ScriptedModel(["a", "b", "c", "d", "e"], lambda _tokens: [0.2] * 5), "abab", CONFIG, 1)


def test_it_reads_as_a_sentence() -> None:
    text = str(Quality(0.0053, 0.952, 16.556, 16.637, 626))
    assert text == "KL 0.005, same top token 95%, perplexity 16.56 -> 16.64 (626 tokens)"


@pytest.mark.real
def test_a_conversion_of_the_draft_loses_what_it_should() -> None:
    from exsa_lab.models.conversion import convert

    assert len(bundled_text()) > 2_000
    exact = measure_quality("smollm2-135m-draft", convert("smollm2-135m-draft", "f16"), max_tokens=96)
    rough = measure_quality("smollm2-135m-draft", convert("smollm2-135m-draft", "q4_1"), max_tokens=96)
    # Unpacked to f16 the weights are the same; flash attention and q8_0 products round differently.
    assert exact.kl < 0.01 < rough.kl
    assert exact.top1_agreement > 0.9
