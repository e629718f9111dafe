"""Texts to take along: what the page gets."""

from __future__ import annotations

import pytest
import traitlets

from exsa_lab.widgets.copyable import Copyable


def test_title_and_texts_reach_the_page_and_follow_changes() -> None:
    made = Copyable(title="The code", texts=[["as Python", "1 + 1"]])
    assert {name: made.get_state()[name] for name in ("title", "texts")} == {
        "title": "The code",
        "texts": [["as Python", "1 + 1"]],
    }
    made.texts = [["as a cell", "%%exsa"]]
    assert made.get_state()["texts"] == [["as a cell", "%%exsa"]]


def test_its_script_and_style_come_with_it() -> None:
    state = Copyable().get_state()
    assert "clipboard" in state["_esm"]
    assert "copyable" in state["_css"]


def test_what_is_no_text_is_refused() -> None:
    with pytest.raises(traitlets.TraitError):
        Copyable(title=1)
