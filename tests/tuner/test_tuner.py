"""The tuner runs what is set, in the background; can be stopped, shows mistakes in place, compares, gives code."""

from __future__ import annotations

import json

import pytest

from exsa_lab.engine.engine import Engine
from exsa_lab.experiments import Setting
from exsa_lab.tuner import Tuner
from exsa_lab.tuner.history import table_html
from exsa_lab.tuner.tuner import REPEATS
from tests.tuner.parts import run_with
from tests.widgets.fake import Published


def test_a_run_uses_what_is_set(tuner: Tuner) -> None:
    run = run_with(tuner, draft_length=2, drafter="model", temperature=0.3, concurrency=2, seeds="4, 5", num_prompts=2)
    assert run.setting.temperature == 0.3
    assert run.setting.seeds == (4, 5)
    assert [(gen.prompt, gen.params.seed) for gen in run.generations] == [("a", 4), ("b", 4), ("a", 5), ("b", 5)]
    assert all(gen.params.draft_length == 2 for gen in run.generations)
    assert tuner.status.value.count("Run 1 done") == 1
    assert not tuner.run_button.disabled
    assert tuner.stop_button.disabled


def test_the_chart_shows_every_run(tuner: Tuner) -> None:
    for _ in range(2):
        run_with(tuner)
    lines = tuner.chart.figure.data
    assert [line.name for line in lines] == ["run 1", "run 2"]
    assert [line.y[-1] for line in lines] == [45, 45]
    assert all(list(line.y) == sorted(line.y) for line in lines)


def test_stop_keeps_what_is_done(engine: Engine) -> None:
    tuner = Tuner(engine, prompts=["a"] * 50, setting=Setting(max_tokens=2000, chat=False), update_hz=200)
    tuner.run_button.click()
    assert tuner.is_running
    tuner.stop_button.click()
    assert tuner.wait(60)
    assert tuner.runs[-1].was_stopped
    assert "Run 1 stopped" in tuner.status.value
    assert "(stopped)" in table_html(tuner.runs)
    assert engine.status().running == 0


def test_without_an_engine_it_offers_to_load_one() -> None:
    tuner = Tuner()
    assert tuner.models.target.placeholder == "none is loaded"
    tuner.run_button.click()
    assert "no engine is loaded" in tuner.status.value
    assert not tuner.is_running


def test_mistakes_are_one_line_beneath_the_buttons(tuner: Tuner) -> None:
    tuner.controls.seeds.value = "one"
    tuner.run_button.click()
    assert "seeds are &#x27;one&#x27;" in tuner.status.value
    assert tuner.runs == []
    tuner.controls.seeds.value = "1"
    tuner.controls.own.value = "<b>not a piece</b>"
    run_with(tuner)
    assert "1 failed" in tuner.status.value
    assert "<b>" not in tuner.status.value


def test_a_closed_engine_is_said_and_harmless(tuner: Tuner, engine: Engine) -> None:
    engine.close()
    tuner.run_button.click()
    assert tuner.wait(60)
    assert "closed" in tuner.status.value
    assert not tuner.run_button.disabled


def test_compare_shows_figures_of_both_runs(tuner: Tuner) -> None:
    assert tuner.compare() == []
    run_with(tuner, draft_length=0)
    assert tuner.compare_button.disabled
    run_with(tuner, draft_length=3, drafter="model")
    tuner.compare_button.click()
    data = [output["data"] for output in tuner.comparison.outputs]
    assert len(data) == 2
    assert "run 2 against run 1" in data[0]["text/plain"]
    assert "Acceptance by place, run 2" in data[1]["text/plain"]
    assert json.dumps(data)


def test_repeating_runs_both_in_turns_and_pools_them(tuner: Tuner) -> None:
    for length in (0, 3):
        run_with(tuner, draft_length=length, drafter="model", concurrency=3)
    assert "one batch and one batch: repeat to compare" in tuner.compare()[0].layout.title.text
    tuner.repeat_button.click()
    assert tuner.wait(60)
    assert [run.setting.draft_length for run in tuner.runs] == [0, 3] * (1 + REPEATS)
    assert (tuner.run_a.value, tuner.run_b.value) == (0, 1)
    figure = tuner.compare()[0]
    assert f"{1 + REPEATS} batches and {1 + REPEATS} batches, paired" in figure.layout.title.text
    assert not tuner.run_button.disabled


def test_two_runs_of_one_setting_are_compared_with_each_other(tuner: Tuner) -> None:
    for _ in range(2):
        run_with(tuner, draft_length=0)
    assert "3 batches and 3 batches" in tuner.compare()[0].layout.title.text


def test_displaying_adds_the_table_that_is_kept(tuner: Tuner, monkeypatch: pytest.MonkeyPatch) -> None:
    shown: list[tuple[object, dict[str, object]]] = []
    updated: list[object] = []
    published = Published(monkeypatch)
    monkeypatch.setattr("exsa_lab.tuner.tuner.display", lambda what, **options: shown.append((what, options)))
    monkeypatch.setattr("exsa_lab.tuner.tuner.update_display", lambda what, **options: updated.append((what, options)))
    tuner._ipython_display_()
    assert "need their kernel" in published.shown[0]["text/plain"]
    assert shown[0][0] == {"text/html": "<p>No runs yet.</p>", "text/plain": "No runs yet."}
    run_with(tuner)
    assert updated[-1][1]["display_id"] == shown[0][1]["display_id"]  # type: ignore[index]
