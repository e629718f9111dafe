"""Every view where no browser is: papermill, nbconvert, and IPython in a terminal, with the default pair."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import nbformat
import pytest

from exsa_lab.widgets.scripts import WIDGET_VIEW
from tests import every_view

pytest.importorskip("papermill", reason="papermill is not installed: pip install -e '.[dev]'")

pytestmark = pytest.mark.real

TIMEOUT_S = 300.0
"""A hang is a failure; patience with a busy machine."""


def run(*arguments: str, folder: Path, **options: Any) -> subprocess.CompletedProcess[str]:
    """Run a module of this environment in a folder; it must end by itself."""
    command = [sys.executable, "-m", *arguments]
    return subprocess.run(
        command, cwd=folder, capture_output=True, text=True, timeout=TIMEOUT_S, check=False, **options
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("front-ends")


@pytest.fixture(scope="module")
def executed(folder: Path) -> Path:
    """The notebook of all views, run by papermill."""
    every_view.write(folder / "in.ipynb")
    done = run("papermill", "in.ipynb", "out.ipynb", "--kernel", "python3", folder=folder)
    assert done.returncode == 0, done.stderr
    return folder / "out.ipynb"


@pytest.mark.parametrize("name", every_view.VIEWS)
def test_what_papermill_saves_is_whole_and_static(executed: Path, name: str) -> None:
    outputs = nbformat.read(executed, as_version=4).cells[every_view.index(name)].outputs
    _, word = every_view.VIEWS[name]
    assert word in "".join(map(_readable, outputs))
    assert not re.search(every_view.PROBLEM, "".join(map(_readable, outputs)))
    for output in outputs:
        if "data" in output and WIDGET_VIEW in output.data:
            assert name == "captured", "only an Output widget names a widget"


def _readable(output: Any) -> str:
    """An output as a page shows it that starts no script."""
    if "data" not in output:
        return str(output.get("text", ""))
    return re.sub(r"<[^>]*>", "", output.data.get("text/html") or output.data.get("text/plain", ""))


def test_an_output_widget_holds_the_final_strip(executed: Path) -> None:
    state = nbformat.read(executed, as_version=4).metadata.widgets["application/vnd.jupyter.widget-state+json"]["state"]
    held = [output for each in state.values() for output in each["state"].get("outputs", ())]
    assert "finished" in "".join(map(_readable, map(nbformat.from_dict, held)))


def test_nbconvert_writes_a_whole_page(executed: Path, folder: Path) -> None:
    done = run("nbconvert", "--to", "html", executed.name, folder=folder)
    assert done.returncode == 0, done.stderr
    page = re.sub(
        r"<script.*?</script>|<style.*?</style>|<[^>]*>", "", executed.with_suffix(".html").read_text(), flags=re.DOTALL
    )
    for word in filter(None, (word for _, word in every_view.VIEWS.values())):
        assert word in page
    assert not re.search(every_view.PROBLEM, page)


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX terminals")
def test_a_terminal_gets_text(folder: Path) -> None:
    """IPython with a terminal's prompt, told each cell in turn."""
    cells = [every_view.SET_UP, *(source for source, _ in every_view.VIEWS.values())]
    script = folder / "cells.ipy"
    script.write_text("\n".join(f"get_ipython().run_cell({cell!r})" for cell in cells))
    environment = {**os.environ, "IPYTHONDIR": str(folder / "ipython"), "TERM": "dumb"}
    done = run(
        "IPython", "--simple-prompt", "--no-banner", "--colors=NoColor", str(script), folder=folder, env=environment
    )
    assert done.returncode == 0, done.stderr
    for _, word in every_view.VIEWS.values():
        assert word in done.stdout
    assert not re.search(every_view.PROBLEM, done.stdout + done.stderr)
