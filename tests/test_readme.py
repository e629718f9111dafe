"""The README's own cells run, in their order, on the real pair."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import exsa_lab as xl
from tests.shell import Shell, shell

pytestmark = pytest.mark.real

README = Path(__file__).parent.parent / "README.md"
BLOCKS = re.findall(r"^```(?:python)?\n(.*?)^```$", README.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
CELLS = [block for block in BLOCKS if not block.startswith("make ")]


@pytest.fixture
def ip(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Shell]:
    monkeypatch.chdir(tmp_path)  # one cell saves a file
    with shell() as made:
        yield made
    xl.unload()


def test_every_cell_of_the_readme_runs(ip: Shell) -> None:
    assert len(CELLS) >= 8
    for cell in CELLS:
        result = ip.run(cell)
        assert result.succeeded, f"{cell}\n{result.text()}"
    assert Path("answer.json").is_file()


def test_every_magic_is_named() -> None:
    from exsa_lab.magics import ExsaMagics

    text = README.read_text(encoding="utf-8")
    for names in ExsaMagics.magics.values():
        for name in names:
            assert f"%{name}" in text
