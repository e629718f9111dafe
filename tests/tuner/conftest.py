"""A tuner on a scripted pair."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from ipywidgets import Widget

from exsa_lab.engine.engine import Engine
from exsa_lab.testing import ScriptedModel, markov, scripted_engine
from exsa_lab.tuner import Tuner
from tests.tuner.parts import PIECES, SETTING


@pytest.fixture
def engine() -> Iterator[Engine]:
    target = ScriptedModel(PIECES, markov(12, 1), step_s=0.001)
    with scripted_engine(target, ScriptedModel(PIECES, markov(12, 1, sharpness=1)), n_seq_max=4) as engine:
        yield engine
    Widget.close_all()


@pytest.fixture
def tuner(engine: Engine) -> Tuner:
    return Tuner(engine, prompts=["a", "b", "c"], setting=SETTING, update_hz=100)
