"""Run notebooks and store their outputs in them, widgets as the static view that each display carries."""

from __future__ import annotations

import sys
from pathlib import Path

import nbformat

from exsa_lab.demo import run_notebook, without_widgets


def main(paths: list[str]) -> None:
    for path in map(Path, paths):
        print(path)
        nbformat.write(without_widgets(run_notebook(path, say=print)), path)


if __name__ == "__main__":
    main(sys.argv[1:])
