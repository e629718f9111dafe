"""A draft whose vocabulary is padded to another size drafts losslessly: families pad differently."""

from __future__ import annotations

import pytest

from exsa_lab.testing import ScriptedModel, markov, scripted_engine

PIECES = "abcdefghij"


def model(size: int, seed: int) -> ScriptedModel:
    return ScriptedModel(list(PIECES[:size]), markov(size, seed, sharpness=1.0), ends=[])


@pytest.mark.parametrize("sizes", [(5, 8), (8, 5)], ids=["larger draft", "smaller draft"])
@pytest.mark.parametrize("options", [{}, {"top_k": 3}, {"top_p": 0.7}, {"min_p": 0.2}], ids=str)
@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_sizes_may_differ(sizes: tuple[int, int], options: dict[str, float], temperature: float) -> None:
    target, draft = model(sizes[0], 1), model(sizes[1], 1)
    with scripted_engine(target, draft) as engine:
        drafted = engine.generate(
            "a", chat=False, max_tokens=80, temperature=temperature, seed=3, drafter="model", draft_length=4, **options
        )
        assert drafted.stats.drafted_tokens > 0
        assert len(drafted.tokens) == 80
        assert max(drafted.tokens) < sizes[0]
        if temperature == 0:
            assert drafted.text == engine.generate("a", chat=False, max_tokens=80, draft_length=0).text
