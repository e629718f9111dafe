"""How the notebooks are stored. That every cell runs is nbval's part, which collects notebooks/ itself."""

from __future__ import annotations

import importlib.util
import json
import re
import sys
from pathlib import Path
from typing import Any

import nbformat
import pytest

from exsa_lab.models.catalog import PAIRS

ROOT = Path(__file__).parent.parent
MAX_OUTPUT_BYTES = 300_000
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))


@pytest.fixture(params=NOTEBOOKS, ids=lambda path: path.stem)
def notebook(request: pytest.FixtureRequest) -> Any:
    content = nbformat.read(request.param, as_version=4)
    nbformat.validate(content)
    return content


def test_names_its_kernel(notebook: Any) -> None:
    # Otherwise JupyterLab asks for one before the first cell can run.
    assert notebook.metadata.kernelspec.name == "python3"


def test_teaches_with_words(notebook: Any) -> None:
    words = sum(len(cell.source.split()) for cell in notebook.cells if cell.cell_type == "markdown")

    assert notebook.cells[0].cell_type == "markdown"
    assert notebook.cells[0].source.startswith("# ")
    assert words > 100


def test_is_stored_in_order_and_without_errors(notebook: Any) -> None:
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]

    assert [cell.execution_count for cell in code] in ([None] * len(code), list(range(1, len(code) + 1)))
    assert not [output for cell in code for output in cell.outputs if output.output_type == "error"]


def test_checked_cells_have_an_output_to_check(notebook: Any) -> None:
    for cell in notebook.cells:
        if "NBVAL_CHECK_OUTPUT" in cell.source and cell.execution_count is not None:
            assert cell.outputs


def test_stores_no_widget_state_and_nothing_of_the_machine(notebook: Any) -> None:
    assert "widgets" not in notebook.metadata
    outputs = str([cell.get("outputs") for cell in notebook.cells])
    assert "application/vnd.jupyter.widget-view+json" not in outputs
    assert "<script" not in outputs
    for private in (str(Path.home()) + "/", "/work/", "/tmp/"):
        assert private not in outputs


def test_outputs_are_small(notebook: Any) -> None:
    outputs = json.dumps([cell.get("outputs") for cell in notebook.cells])
    assert len(outputs.encode()) <= MAX_OUTPUT_BYTES


def test_answers_are_hidden_and_folded_properly(notebook: Any) -> None:
    text = "\n".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")
    if "Exercises" not in text and "Now answer" not in text:
        return
    assert text.count("<details><summary>") == text.count("</details>") > 0
    # Markdown inside of an HTML block is rendered only after an empty line.
    assert not re.search(r"</summary>\n?\S", text)
    if "**Exercises**" in text:
        assert "<details><summary>Answers</summary>" in text


def test_outputs_are_of_the_models_that_come_with_it(notebook: Any) -> None:
    outputs = str([cell.get("outputs") for cell in notebook.cells])
    draft = PAIRS["smollm2-135m"].draft
    assert draft is not None
    assert set(re.findall(r"smollm2-135m-draft-[\w-]+", outputs)) <= {Path(draft.file).stem}


def test_folders_of_the_machine_are_shortened() -> None:
    spec = importlib.util.spec_from_file_location("store_outputs", ROOT / "scripts" / "store_outputs.py")
    assert spec is not None
    assert spec.loader is not None
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    outputs = [{"data": {"text/plain": f"{sys.prefix}/lib and {Path.home()}/.cache"}, "execution_count": 3}]
    assert script.shorten(outputs) == [{"data": {"text/plain": ".venv/lib and ~/.cache"}, "execution_count": 3}]
