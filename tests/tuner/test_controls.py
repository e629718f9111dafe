"""The controls: the code they stand for, and the prompt sets."""

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


def test_code_follows_the_controls(tuner: Tuner) -> None:
    tuner.controls.temperature.value = 0.6
    tuner.controls.draft_length.value = 4
    magic, python = dict(tuner.code.texts).values()
    assert magic.startswith("%%exsa --draft-length 4 --temperature 0.6")
    assert magic.endswith("\na")
    assert "draft_length=4" in python
    tuner.controls.own.value = ""
    assert all(text.startswith("# there is no prompt") for _, text in tuner.code.texts)


def test_prompt_sets_come_with_the_package(tuner: Tuner) -> None:
    tuner.controls.prompt_set.value = "code"
    tuner.controls.num_prompts.value = 3
    assert len(tuner.controls.prompts()) == 3
    assert tuner.controls.own.layout.display == "none"
