"""Run notebooks and store their outputs in them, widgets as the static view that each display carries.

Folders of the machine they ran on are not part of the lesson: they are shortened.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import Any

import nbformat

from exsa_lab.demo import run_notebook, without_widgets

# The longest first: the environment may lie in the repository, and that in the home folder.
_FOLDERS = {
    sys.prefix: ".venv",
    str(Path(__file__).resolve().parent.parent): "exsa_lab",
    tempfile.gettempdir(): "tmp",
    str(Path.home()): "~",
}


def main(paths: list[str]) -> None:
    for path in map(Path, paths):
        print(path)
        notebook = without_widgets(run_notebook(path, say=print))
        for cell in notebook.cells:
            if cell.cell_type == "code":
                cell.outputs = shorten(cell.outputs)
        nbformat.write(notebook, path)


def shorten(value: Any) -> Any:
    """Return outputs with this machine's folders replaced in every text."""
    if isinstance(value, str):
        for folder, name in _FOLDERS.items():
            value = value.replace(folder, name)
        return value
    if isinstance(value, dict):
        return type(value)({key: shorten(item) for key, item in value.items()})
    return [shorten(item) for item in value] if isinstance(value, list) else value


if __name__ == "__main__":
    main(sys.argv[1:])
