"""The table of runs."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from ipywidgets import Widget

from exsa_lab.engine.engine import Engine
from exsa_lab.experiments import Experiment, Setting
from exsa_lab.testing import ScriptedModel, markov, scripted_engine
from exsa_lab.tuner import Tuner
from exsa_lab.tuner.history import table_html, table_text

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


def _run(tuner: Tuner, **values: object) -> Experiment:
    for name, value in values.items():
        getattr(tuner.controls, name).value = value
    tuner.run_button.click()
    assert tuner.wait(20)
    return tuner.runs[-1]


def test_the_table_is_html_without_script_and_marks_the_best(tuner: Tuner) -> None:
    _run(tuner, draft_length=0)
    _run(tuner, draft_length=3, drafter="model")
    html = table_html(tuner.runs)
    assert set(re.findall(r"<(\w+)", html)) <= {"table", "thead", "tbody", "tr", "th", "td", "b", "p"}
    assert "<b>" in html
    assert html.index("draft_length=3") < html.index("draft_length=0")  # newest first
    *rows, targets = table_text(tuner.runs).splitlines()
    assert len(rows) == 2
    assert targets == f"{tuner.engine.target.name}: run 1, run 2"
    assert f"<p>{targets}</p>" in html
    assert table_text([]) == "No runs yet."
