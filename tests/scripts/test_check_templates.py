"""`scripts/check_templates.py` tells where exsa_lab and jinja2 render a template differently."""

from __future__ import annotations

from pathlib import Path

import check_templates
import pytest
from check_templates import Counts, compare, main

from exsa_lab.prompts.rendering import hash_of
from tests.prompts.vocabularies import CHATML

REFUSES = "{% if tools %}{{ raise_exception('no tools') }}{% endif %}" + CHATML


def test_what_agrees(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "a.jinja").write_text(CHATML)
    (tmp_path / "b.jinja").write_text(REFUSES)
    assert main([str(tmp_path)]) == 0
    assert capsys.readouterr().out == "2 templates, 60 renderings: 54 the same, 6 refused by both.\n"


def test_what_differs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    class Loud(check_templates.ChatTemplate):
        def render(self, values: dict[str, object]) -> str:
            return super().render(values).upper()

    monkeypatch.setattr(check_templates, "ChatTemplate", Loud)
    counts = Counts()
    compare("a", CHATML, counts)
    assert counts.differences[0].startswith('a, user, plain: at character 2: "im_start|>user')
    (tmp_path / "a.jinja").write_text(CHATML)
    assert main([str(tmp_path)]) == 1
    assert "0 the same" in capsys.readouterr().out


def test_an_empty_folder_is_a_failure(tmp_path: Path) -> None:
    assert main([str(tmp_path)]) == 1


def test_hashes_are_listed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "a.jinja").write_text(CHATML)
    assert main([str(tmp_path), "--hashes"]) == 0
    assert capsys.readouterr().out == f"{hash_of(CHATML)}  a\n"
