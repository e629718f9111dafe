"""Choosing the pair."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from ipywidgets import Widget

from exsa_lab.engine.engine import Engine
from exsa_lab.experiments import Setting
from exsa_lab.testing import ScriptedModel, markov, scripted_engine
from exsa_lab.tuner import Tuner

PIECES = [chr(ord("a") + i) for i in range(12)]


SETTING = Setting(max_tokens=15, chat=False)


@pytest.fixture
def engine() -> Iterator[Engine]:
    target = ScriptedModel(PIECES, markov(12, 1), step_s=0.001)
    with scripted_engine(target, ScriptedModel(PIECES, markov(12, 1, sharpness=1)), n_seq_max=4) as engine:
        yield engine
    Widget.close_all()


@pytest.fixture
def tuner(engine: Engine) -> Tuner:
    return Tuner(engine, prompts=["a", "b", "c"], setting=SETTING, update_hz=100)


def test_loading_another_pair_says_how_it_went(tuner: Tuner) -> None:
    tuner.models.target.value = "no-such-model"
    tuner.models.button.click()
    tuner.models.wait(20)
    assert "no-such-model" in tuner.status.value
    assert not tuner.models.button.disabled
