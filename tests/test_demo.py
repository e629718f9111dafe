"""The demo page: a notebook run and written as a page that needs nothing else."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import nbformat
import pytest

from exsa_lab import demo
from exsa_lab.errors import ExsaError


def _exsa_lab(*arguments: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "exsa_lab.cli", *arguments], capture_output=True, text=True, cwd=cwd, timeout=300
    )


def _notebook(path: Path, *sources: str) -> Path:
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source) for source in sources])
    nbformat.write(notebook, path)
    return path


def test_demo_writes_a_page_that_needs_nothing_else(tmp_path: Path) -> None:
    display = "from IPython.display import display\ndisplay({!r}, raw=True)"
    widget = {
        "application/vnd.jupyter.widget-view+json": {"model_id": "1", "version_major": 2, "version_minor": 0},
        "text/html": "<b>the tokens</b>",
        "text/plain": "the tokens, plain",
    }
    notebook = _notebook(tmp_path / "01_small.ipynb", "print(6 * 7)", display.format(widget))
    before = notebook.read_bytes()

    result = _exsa_lab("demo", "--notebook", str(notebook), cwd=tmp_path)

    assert result.returncode == 0, result.stderr
    page = tmp_path / "small.html"
    assert result.stdout.splitlines()[-1] == f"Written: {page.resolve()}"
    html = page.read_text(encoding="utf-8")
    assert "<b>the tokens</b>" in html
    assert "<pre>42\n</pre>" in html
    assert "<script" not in html
    assert "<link" not in html
    assert notebook.read_bytes() == before


def test_demo_names_the_cell_error(tmp_path: Path) -> None:
    notebook = _notebook(tmp_path / "bad.ipynb", "raise ValueError('no such thing')")

    with pytest.raises(ExsaError, match=r"a cell of bad\.ipynb failed: ValueError: no such thing"):
        demo.write_html(notebook, tmp_path / "bad.html", say=lambda line: None)

    assert not (tmp_path / "bad.html").exists()
