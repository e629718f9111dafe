"""Run a notebook without a browser and write it as one HTML file that needs neither scripts nor a network."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nbformat
from jinja2 import DictLoader
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError
from nbconvert import HTMLExporter

from exsa_lab.errors import ExsaError
from exsa_lab.files import write_bytes

_WIDGET_TYPE = "application/vnd.jupyter.widget-view+json"
# The lab template without what it would fetch from elsewhere: the tokens are static HTML.
_TEMPLATE = """
{% extends "lab/index.html.j2" %}
{% block html_head_js_requirejs %}{% endblock %}
{% block html_head_js_mathjax %}{% endblock %}
{% block html_head_js_mermaidjs %}{% endblock %}
"""


def write_html(notebook: Path, output: Path, *, say: Callable[[str], None]) -> Path:
    """Run ``notebook`` in a kernel of this interpreter and write ``output``; returns its absolute path.

    ``say`` is called with one line per cell. Raises ExsaError where there is no such notebook, or a cell fails.
    """
    if not notebook.is_file():
        raise ExsaError(f"there is no notebook {str(notebook)!r}.")
    executed = run_notebook(notebook, say=say)
    write_bytes(output, to_html(executed, title=notebook.stem).encode("utf-8", "replace"))
    return output.resolve()


def run_notebook(notebook: Path, *, say: Callable[[str], None]) -> Any:
    """Execute every cell from top to bottom; returns the notebook with its outputs, the file is left alone."""
    content = nbformat.read(notebook, as_version=4)
    code = sum(cell.cell_type == "code" for cell in content.cells)
    done = 0

    def on_cell(cell: Any, cell_index: int) -> None:
        nonlocal done
        if cell.cell_type == "code":
            done += 1
            say(f"[{done}/{code}] {cell.source.strip().splitlines()[0] if cell.source.strip() else '(empty)'}")

    client = NotebookClient(
        content,
        kernel_name="python3",
        resources={"metadata": {"path": str(notebook.resolve().parent)}},
        store_widget_state=False,
        record_timing=False,
        extra_arguments=["--log-level=ERROR"],
        on_cell_start=on_cell,
    )
    # The notebook's kernel must be this interpreter, whatever kernel "python3" means elsewhere on the machine.
    client.km = client.create_kernel_manager()
    client.km.kernel_spec.argv[0] = sys.executable
    try:
        client.execute()
    except CellExecutionError as error:
        raise ExsaError(f"a cell of {notebook.name} failed: {error.ename}: {error.evalue}") from error
    return content


def to_html(notebook: Any, *, title: str) -> str:
    """Return the notebook as a page on its own, widgets as the static HTML each display carries."""
    exporter = HTMLExporter(
        template_name="lab",
        template_file="static.html.j2",
        extra_loaders=[DictLoader({"static.html.j2": _TEMPLATE})],
    )
    html, _ = exporter.from_notebook_node(without_widgets(notebook), resources={"metadata": {"name": title}})
    return str(html)


def without_widgets(notebook: Any) -> Any:
    """Take the live widgets out of a notebook's outputs, in place: what stays is the static view beside each."""
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            output.get("data", {}).pop(_WIDGET_TYPE, None)
    notebook.metadata.pop("widgets", None)
    return notebook
