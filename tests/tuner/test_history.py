"""The table of runs."""

from __future__ import annotations

import re

import pytest

from exsa_lab.tuner import Tuner
from exsa_lab.tuner.history import table_html, table_text
from tests.tuner.parts import run_with


@pytest.fixture(autouse=True)
def quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    """Steps of this machine, which may be busy, play no part."""
    monkeypatch.setattr("exsa_lab.scatter.unsteadiness", lambda *runs: 0.0)


def test_the_table_is_html_without_script_and_marks_the_best(tuner: Tuner) -> None:
    run_with(tuner, draft_length=0)
    run_with(tuner, draft_length=3, drafter="model")
    html = table_html(tuner.runs)
    assert set(re.findall(r"<(\w+)", html)) <= {"table", "thead", "tbody", "tr", "th", "td", "b", "p"}
    assert "<b>" in html
    assert html.index("draft_length=3") < html.index("draft_length=0")  # newest first
    *rows, targets, sure = table_text(tuner.runs).splitlines()
    assert len(rows) == 2
    assert "accepted -, " in rows[0]
    assert re.search(r"accepted \d+ of [1-9]\d*, ", rows[1])
    assert targets == f"{tuner.engine.target.name}: run 1, run 2"
    assert f"<p>{targets}</p>" in html
    assert sure.startswith("Every speed is of one run")
    assert f"<p>{sure}</p>" in html
    assert table_text([]) == "No runs yet."


def test_runs_of_one_setting_say_how_far_their_speeds_lie_apart(tuner: Tuner) -> None:
    for length in (0, 3, 0):
        run_with(tuner, draft_length=length, drafter="model")
    for run, seconds in zip(tuner.runs, (1.0, 5.0, 1.5), strict=True):
        run.seconds = seconds
    sure = table_text(tuner.runs).splitlines()[-1]
    tokens = tuner.runs[0].summary()["tokens"]
    assert sure == (
        f"run 1, run 3 are alike: {tokens / 1.5:.1f} to {tokens:.1f} tok/s together. Machine busy: they differ by 50 %."
    )


def test_a_machine_that_was_busy_during_a_run_is_told(tuner: Tuner, monkeypatch: pytest.MonkeyPatch) -> None:
    run_with(tuner, draft_length=0)
    monkeypatch.setattr("exsa_lab.scatter.unsteadiness", lambda *runs: 0.25)
    last = table_text(tuner.runs).splitlines()[-1]
    assert last == "run 1: one run, machine busy: neighbouring steps differ by 25 %"
