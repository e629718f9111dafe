"""Tests are where their modules are: tests/x/test_y.py for exsa_lab/x/y.py."""

from __future__ import annotations

import re
from pathlib import Path

import exsa_lab

PACKAGE = Path(exsa_lab.__file__).parent
TESTS = Path(__file__).parent


def test_every_module_has_its_test_file_or_is_tested_by_name() -> None:
    tests = "\n".join(path.read_text(encoding="utf-8") for path in TESTS.rglob("*.py"))
    for path in sorted(PACKAGE.rglob("*.py")):
        place = path.relative_to(PACKAGE)
        name = ".".join(place.with_suffix("").parts)
        if path.stem.startswith("__"):
            continue
        package, _, module = f"exsa_lab.{name}".rpartition(".")
        is_named = re.search(rf"{re.escape(package)}(\.{module}\b| import [^\n]*\b{module}\b)", tests)
        assert TESTS.joinpath(place.parent, f"test_{path.name}").is_file() or is_named, f"nothing tests {name}"


def test_folders_of_tests_mirror_those_of_the_package() -> None:
    of_no_module = {"benchmarks", "browser", "scripts", "__pycache__"}
    folders = {path.name for path in TESTS.iterdir() if path.is_dir()} - of_no_module
    assert folders <= {path.name for path in PACKAGE.iterdir() if path.is_dir()}


def test_the_engine_reads_in_one_sitting() -> None:
    assert len(list((PACKAGE / "engine").glob("*.py"))) <= 14


def test_no_file_is_long() -> None:
    files = [path for kind in ("*.py", "*.js", "*.css") for path in PACKAGE.rglob(kind)]
    lengths = {path.relative_to(PACKAGE): len(path.read_text(encoding="utf-8").splitlines()) for path in files}
    assert {path: length for path, length in lengths.items() if length > 400} == {}
