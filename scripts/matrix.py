"""Try exsa_lab on every Python it is made for, as far as they are here, and print a table in Markdown.

``python scripts/matrix.py [--only TEXT]`` makes an environment for each row in a cache, all with the one wheel of
llama-cpp-python that `llama_wheel.py` keeps, and runs a part of the tests there; TEXT chooses rows, such as ``3.13``. A
Python is taken from PATH, from pyenv, or from uv, which may download it. The exit status is 1 where a test failed; a
Python that is not here is no failure, and the table says so.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import llama_wheel
import set_up

EXTRAS = ("demo", "lab", "hub", "sweeps", "serve", "structured", "dev")
FAST = [
    "-m", "not real and not browser", "tests/engine/worker/test_child.py", "tests/serve/test_server.py",
    *(f"tests/magics/test_{name}.py" for name in ("chats", "interrupts", "magics")),
    *(f"tests/widgets/test_{name}.py" for name in ("captured", "display", "jobs", "live")),
    *(f"tests/test_{name}.py" for name in ("files", "history_file", "manager", "sweeps")),
]  # fmt: skip
"""Where Pythons and packages differ: kernels, processes, threads, event loops, files, databases."""
REAL = [
    "tests/test_real_pair.py::test_a_seed_gives_the_same_text_in_any_company",
    "tests/magics/test_magics.py::test_real_cell_streams_and_leaves_html",
]
TESTS = {"fast tests": FAST, "real pair": REAL}
"""Columns: tests that need no weights; on the default pair one load, one ``%%exsa`` with drafts, texts in company."""


@dataclass(frozen=True)
class Row:
    """One environment: a Python, and requirements that hold packages back."""

    python: str
    pins: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        return " ".join([self.python, *self.pins])


ROWS = (
    Row("3.11", ("ipykernel<7", "numpy<2.1", "pandas<2.3")),
    *(Row(python, ("ipykernel>=7",)) for python in ("3.11", "3.12", "3.13", "3.14")),
    Row("3.14", ("ipykernel<7",)),
)


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Try exsa_lab on several Pythons and print a table.")
    parser.add_argument("--only", default="", metavar="TEXT", help="rows whose Python or requirements have this text")
    only = parser.parse_args(argv).only
    rows = [try_row(row) for row in ROWS if only in row.name]
    columns = ["Python", "ipykernel", "IPython", "numpy", "pandas", "extras that cannot be installed", *TESTS]
    print(table([columns, ["---"] * len(columns), *rows]))
    return int(any("failed" in cell for row in rows for cell in row))


def table(rows: list[list[str]]) -> str:
    """Return rows as a table in Markdown, short ones filled up."""
    width = max(map(len, rows))
    return "\n".join("| " + " | ".join([*row, *[""] * (width - len(row))]) + " |" for row in rows)


def try_row(row: Row) -> list[str]:
    """Fill an environment and run the tests in it; returns the row's cells."""
    found = next((path for path in interpreters(row.python) if version_of(path) == row.python), None)
    if found is None:
        return [row.python, "not here"]
    folder = llama_wheel.cache_folder().parent / "matrix" / re.sub(r"\W+", "-", row.name)
    llama_wheel.say(f"{row.name}: {found}, in {folder}")
    python = make_environment(found, folder)
    missing = fill(python, row.pins)
    names = ("ipykernel", "ipython", "numpy", "pandas")
    versions = ask(python, f"from importlib.metadata import version; print(*map(version, {names}))").split()
    full = ask(python, "import platform; print(platform.python_version())")
    results = [run_tests(python, TESTS[name], folder / f"{name}.log") for name in TESTS]
    llama_wheel.say(f"{row.name}: {results}")
    return [full, *versions, ", ".join(missing), *results]


def interpreters(python: str) -> Iterator[str]:
    """Yield paths that may be an interpreter of this version, such as "3.13"; what has to be downloaded comes last."""
    if found := shutil.which(f"python{python}"):
        yield found
    root = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
    yield from map(str, root.glob(f"versions/{python}.*/bin/python"))
    if uv := shutil.which("uv"):
        subprocess.run([uv, "python", "install", "--quiet", python], stderr=subprocess.DEVNULL, check=False)
        yield subprocess.run([uv, "python", "find", python], capture_output=True, text=True, check=False).stdout.strip()


def ask(python: str, program: str) -> str:
    """Return what a program prints there; empty where it does not run."""
    try:
        return subprocess.run([python, "-c", program], capture_output=True, text=True, check=False).stdout.strip()
    except OSError:
        return ""


def version_of(python: str) -> str:
    """Return an interpreter's version, such as "3.13"; empty where it is none, or a shim of pyenv's for another."""
    return ask(python, "import sys; print('%d.%d' % sys.version_info[:2])")


def make_environment(interpreter: str, folder: Path) -> str:
    """Make a virtual environment, or take the one that is there; returns the path of its Python."""
    python = str(folder / "bin" / "python")
    if version_of(python) != version_of(interpreter):
        shutil.rmtree(folder, ignore_errors=True)
        uv = shutil.which("uv")
        making = [uv, "venv", "--quiet", "--python", interpreter] if uv else [interpreter, "-m", "venv"]
        subprocess.run([*making, str(folder)], check=True)
    return python


def fill(python: str, pins: tuple[str, ...]) -> list[str]:
    """Install this clone with its extras; returns those that cannot be had there."""
    wheel = str(llama_wheel.wheel())

    def install(*extras: str) -> bool:
        try:
            set_up.install(wheel, "--editable", f"{llama_wheel.ROOT}[{','.join(extras)}]", *pins, python=python)
        except subprocess.CalledProcessError:
            return False
        return True

    if install(*EXTRAS):
        return []
    return [extra for extra in EXTRAS if not install(extra)]


def run_tests(python: str, arguments: list[str], log: Path) -> str:
    """Run tests and return how many passed, failed and were skipped; all they print is kept in ``log``."""
    command = [python, "-m", "pytest", "-q", "-p", "no:cacheprovider", *arguments]
    with log.open("w", encoding="utf-8") as out:
        done = subprocess.run(command, cwd=llama_wheel.ROOT, stdout=out, stderr=subprocess.STDOUT, check=False)
    counts = re.findall(r"\d+ (?:passed|failed|skipped|errors?)\b", log.read_text(encoding="utf-8"))
    return ", ".join(counts) if done.returncode == 0 else f"failed ({', '.join(counts)}; {log})"


if __name__ == "__main__":
    sys.exit(main())
