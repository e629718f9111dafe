"""The pages under docs/ are up to date, lead somewhere, and name commands and members that exist."""

from __future__ import annotations

import importlib
import re
import runpy
from pathlib import Path

import pytest

from benchmarks.suite import SUITE
from exsa_lab import plots
from exsa_lab.bench.cli import BENCHMARKS

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
PAGES = sorted(DOCS.rglob("*.md"))
LINKS = re.compile(r"\]\((?!https?:)([^)#]+)\)")


def test_pages_of_magics_are_those_of_the_declared_arguments() -> None:
    made = runpy.run_path(str(ROOT / "scripts" / "write_docs.py"))["pages"]()
    stored = {path.name: path.read_text(encoding="utf-8") for path in DOCS.joinpath("magics").iterdir()}
    assert stored == made, "run `python scripts/write_docs.py`"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(DOCS)))
def test_links_lead_to_files(page: Path) -> None:
    links = LINKS.findall(page.read_text(encoding="utf-8"))
    assert links
    assert [link for link in links if not (page.parent / link).is_file()] == []


def test_the_index_leads_to_every_page() -> None:
    found, new = set(), {DOCS / "index.md"}
    while new:
        found |= new
        texts = [(page, page.read_text(encoding="utf-8")) for page in new if page.suffix == ".md"]
        new = {(page.parent / link).resolve() for page, text in texts for link in LINKS.findall(text)} - found
    assert set(PAGES) <= found


def test_every_table_of_numbers_stands_below_its_command() -> None:
    sections = DOCS.joinpath("numbers.md").read_text(encoding="utf-8").split("\n## ")[1:]
    for section in sections:
        if re.search(r"\| x\d", section):
            assert re.search(r"^`python -m (?:exsa_lab\.bench|benchmarks) \w+", section, re.MULTILINE), section


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(DOCS)))
def test_what_is_named_exists(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    for name in re.findall(r"exsa_lab\.bench (\w+)", text):
        assert name in [*BENCHMARKS, "all"]
    for name in re.findall(r"\bbenchmarks (\w+)(?=`| --)", text):
        assert name in [*SUITE.benchmarks, "all"]
    for name in re.findall(r"plots\.(\w+)", text):
        assert hasattr(plots, name)
    for module, name in re.findall(r"from (exsa_lab[\w.]*) import (\w+)", text):
        assert hasattr(importlib.import_module(module), name)
    for path in re.findall(r"`((?:exsa_lab|benchmarks|tests|scripts)/[\w/]+\.\w+)`", text):
        assert ROOT.joinpath(path).is_file(), path


def test_the_code_of_a_page_is_where_it_says() -> None:
    for page in DOCS.glob("*.md"):
        for line in re.findall(r"^In the code: (.*?)\n\n", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL):
            names = re.findall(r"`(?:[\w/]+/)?(\w+\.py)`", line)
            assert names
            for name in names:
                assert any(ROOT.joinpath("exsa_lab").rglob(name)) or any(ROOT.joinpath("tests").rglob(name)), name
