"""What ``make lab`` opens: every cell of the quickstart runs in the page."""

from __future__ import annotations

from collections.abc import Callable

import nbformat
import pytest
from playwright.sync_api import expect

from tests.browser.lab import WAIT_MS, Notebook, Server

pytestmark = [pytest.mark.browser, pytest.mark.real]


def test_every_cell_runs(notebook: Callable[..., Notebook], server: Server) -> None:
    path = server.root / "01_quickstart.ipynb"  # exsa-lab lab put it there
    lab = notebook(path=path)
    last = len(nbformat.read(path, as_version=4).cells) - 1

    # It is stored with its outputs, which are to be made anew here.
    stored = lab.page.get_by_text("drafted accepted")
    expect(stored).to_have_count(3)
    lab.command("notebook:clear-all-cell-outputs")
    expect(stored).to_have_count(0)
    lab.command("notebook:run-all-cells")
    lab.wait(last)

    saved = lab.save()
    code = [cell for cell in saved.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1))
    assert not [output for cell in code for output in cell.outputs if output.output_type == "error"]
    expect(lab.page.locator(".exsa-strip .exsa-state").first).to_contain_text("finished", timeout=WAIT_MS)
    lab.shot("quickstart")
