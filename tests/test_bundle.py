"""Notebooks reach the user's folder, and what the user changed stays."""

from __future__ import annotations

from pathlib import Path

import pytest

from exsa_lab.bundle import copy_notebooks, notebooks_folder


@pytest.fixture
def source(tmp_path: Path) -> Path:
    folder = tmp_path / "source"
    folder.mkdir()
    (folder / "a.ipynb").write_text("first")
    return folder


def test_bundled_notebooks_are_found() -> None:
    assert (notebooks_folder() / "01_quickstart.ipynb").is_file()


def test_copies_once(tmp_path: Path, source: Path) -> None:
    here = tmp_path / "here"

    assert copy_notebooks(here, source) == [f"Copied {here / 'a.ipynb'}"]
    assert copy_notebooks(here, source) == []
    assert (here / "a.ipynb").read_text() == "first"


def test_updates_an_untouched_copy(tmp_path: Path, source: Path) -> None:
    copy_notebooks(tmp_path, source)
    (source / "a.ipynb").write_text("second")

    assert copy_notebooks(tmp_path, source) == [f"Updated {tmp_path / 'a.ipynb'}"]
    assert (tmp_path / "a.ipynb").read_text() == "second"


def test_keeps_a_changed_copy(tmp_path: Path, source: Path) -> None:
    copy_notebooks(tmp_path, source)
    (tmp_path / "a.ipynb").write_text("mine")

    assert copy_notebooks(tmp_path, source) == []
    (source / "a.ipynb").write_text("second")
    [line] = copy_notebooks(tmp_path, source)

    assert line.startswith(f"Kept your {tmp_path / 'a.ipynb'}")
    assert (tmp_path / "a.ipynb").read_text() == "mine"
    [beside] = tmp_path.glob("a-*.ipynb")
    assert beside.read_text() == "second"
    assert copy_notebooks(tmp_path, source) == []


def test_keeps_a_file_it_never_wrote(tmp_path: Path, source: Path) -> None:
    (tmp_path / "a.ipynb").write_text("mine")

    copy_notebooks(tmp_path, source)

    assert (tmp_path / "a.ipynb").read_text() == "mine"


def test_a_broken_record_overwrites_nothing(tmp_path: Path, source: Path) -> None:
    copy_notebooks(tmp_path, source)
    (tmp_path / ".exsa_lab.json").write_text("[")
    (source / "a.ipynb").write_text("second")

    copy_notebooks(tmp_path, source)

    assert (tmp_path / "a.ipynb").read_text() == "first"
