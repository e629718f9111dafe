"""What the doctor says of the weight format."""

from __future__ import annotations

from typing import Any

import pytest

from exsa_lab.config import EngineConfig
from exsa_lab.doctor import weights
from exsa_lab.doctor.weights import weights_section
from exsa_lab.models import advice
from exsa_lab.models.advice import Advice, FormatResult
from exsa_lab.testing import ScriptedModel, scripted_engine


@pytest.fixture(autouse=True)
def unmeasured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(advice, "known_advice", lambda path: None)


def test_what_was_not_measured_is_not_claimed_and_how_to_measure_it_is_said() -> None:
    made = weights_section(None)
    assert made is not None
    assert made.title == "Weight format (Q4_1)"
    assert "Not measured here yet" in made.summary
    assert "exsa_lab.models.advise()" in made.summary


def test_advice_that_was_measured_is_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    known = Advice("m", (FormatResult("Q4_1", 1.0, 2.0, 3.0, None), FormatResult("Q8_0", 1.1, 4.0, 7.0, None)), "Q8_0")
    monkeypatch.setattr(advice, "known_advice", lambda path: known)
    made = weights_section(None)
    assert made is not None
    assert made.summary == known.verdict
    assert list(made.lines) == known.lines()


def test_there_is_nothing_to_say_of_models_without_a_file_or_on_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    with scripted_engine(ScriptedModel("ab", lambda tokens: [0.5, 0.5])) as engine:
        assert weights_section(engine) is None
        facts: Any = weights.pair_facts(None)["target"]
        monkeypatch.setattr(weights, "facts_of", lambda model: facts)
        assert weights_section(engine) is not None
        engine.config = EngineConfig(n_gpu_layers=-1)
        assert weights_section(engine) is None
