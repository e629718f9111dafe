"""The table of runs."""

from __future__ import annotations

import re

from exsa_lab.tuner import Tuner
from exsa_lab.tuner.history import table_html, table_text
from tests.tuner.parts import run_with


def test_the_table_is_html_without_script_and_marks_the_best(tuner: Tuner) -> None:
    run_with(tuner, draft_length=0)
    run_with(tuner, draft_length=3, drafter="model")
    html = table_html(tuner.runs)
    assert set(re.findall(r"<(\w+)", html)) <= {"table", "thead", "tbody", "tr", "th", "td", "b", "p"}
    assert "<b>" in html
    assert html.index("draft_length=3") < html.index("draft_length=0")  # newest first
    *rows, targets = table_text(tuner.runs).splitlines()
    assert len(rows) == 2
    assert targets == f"{tuner.engine.target.name}: run 1, run 2"
    assert f"<p>{targets}</p>" in html
    assert table_text([]) == "No runs yet."
