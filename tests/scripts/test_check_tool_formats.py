from __future__ import annotations

from pathlib import Path

import check_tool_formats
import pytest

from tests.prompts.tool_models import HERMES, XML


def test_each_template_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "one.jinja").write_text(HERMES, encoding="utf-8")
    (tmp_path / "two.jinja").write_text(XML, encoding="utf-8")
    assert check_tool_formats.main([str(tmp_path)]) == 0
    one, marker, two = capsys.readouterr().out.splitlines()
    assert one.startswith("one: '<tool_call>")
    assert "between" in marker
    assert "in a way that is not read here" in two


def test_an_empty_folder_and_no_folder(tmp_path: Path) -> None:
    assert check_tool_formats.main([str(tmp_path)]) == 1
    assert check_tool_formats.main([]) == 2
