"""Notebooks, docs and README use public names only.

Public are the names in an ``__all__``: that of `exsa_lab`, or that of a documented module or package of it.
"""

from __future__ import annotations

import ast
import importlib
import re
from pathlib import Path
from types import ModuleType

import nbformat
import pytest

import exsa_lab

ROOT = Path(__file__).parent.parent
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
PACKAGES = ("bench", "costs", "distill", "doctor", "models", "plots", "speculation", "trace", "widgets")


def cells(path: Path) -> str:
    """The Python of a notebook, without magics."""
    notebook = nbformat.read(path, as_version=4)
    sources = [cell.source for cell in notebook.cells if cell.cell_type == "code" and not cell.source.startswith("%%")]
    return "\n".join(line for source in sources for line in source.splitlines() if not re.match(r"\s*[%!]", line))


def fences(path: Path) -> str:
    """The Python of a page."""
    blocks = re.findall(r"^```python\n(.*?)^```$", path.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    lines = "".join(blocks).splitlines()
    return "\n".join(line for line in lines if not re.match(r"\s*[%!]", line))


def test_the_rule_finds_what_reaches_inside() -> None:
    for code in (
        "from exsa_lab.engine.loop import Loop",
        "import exsa_lab.engine.loop",
        "from exsa_lab.trace import replay_all",
        "import exsa_lab as xl\nxl.loading",
        "import exsa_lab as xl\nxl.models.resolve.resolve",
        "engine._loop",
        "engine.call(len)",
    ):
        assert not_public(code), code
    for code in (
        "import exsa_lab as xl\nxl.load().costs\nxl.models.convert('a')",
        "from exsa_lab.trace import Trace",
        "from exsa_lab import plots\nplots.compare",
        "import numpy as np\nnp.random.default_rng(0)",
    ):
        assert not not_public(code), code


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebooks(path: Path) -> None:
    assert not not_public(cells(path))


@pytest.mark.parametrize("path", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_pages(path: Path) -> None:
    assert not not_public(fences(path))
    text = path.read_text(encoding="utf-8")
    assert "engine.call(" not in text
    for name in set(re.findall(r"(?<![\w/.])exsa_lab(?:\.\w+)+(?!/)", text)):
        assert is_public(name), name


@pytest.mark.parametrize("name", PACKAGES)
def test_what_a_package_offers_is_there_sorted_and_documented(name: str) -> None:
    package = importlib.import_module(f"exsa_lab.{name}")

    assert package.__doc__
    assert sorted(set(package.__all__)) == package.__all__
    assert set(package.__all__) <= set(dir(package))
    if name != "distill":  # which needs its extra
        assert all(hasattr(package, member) for member in package.__all__)
    with pytest.raises(AttributeError, match="no attribute 'nothing_of_the_kind'"):
        package.nothing_of_the_kind  # noqa: B018


def not_public(code: str) -> list[str]:
    """What of some Python code is not public."""
    found: list[str] = []
    names: dict[str, str] = {}
    for node in ast.walk(tree := ast.parse(code)):
        if isinstance(node, ast.Import):
            names |= {
                alias.asname or "exsa_lab": alias.name for alias in node.names if alias.name.startswith("exsa_lab")
            }
            found += [alias.name for alias in node.names if alias.name.startswith("exsa_lab.")]
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("exsa_lab"):
            whole = {alias.asname or alias.name: f"{node.module}.{alias.name}" for alias in node.names}
            found += [name for name in whole.values() if not is_public(name)]
            names |= whole
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute):
            if node.attr.startswith("_") and not node.attr.startswith("__"):
                found.append(ast.unparse(node))
            head, _, rest = ast.unparse(node).partition(".")
            if head in names and re.fullmatch(r"[\w.]+", rest) and not is_public(f"{names[head]}.{rest}"):
                found.append(ast.unparse(node))
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "engine.call":
            found.append(ast.unparse(node))
    return found


def is_public(name: str) -> bool:
    """Whether a dotted name leads through names that the modules on the way offer; further attributes are theirs."""
    at: object = exsa_lab
    path = "exsa_lab"
    parts = name.split(".")[1:]
    for number, part in enumerate(parts, start=1):
        path = f"{path}.{part}"
        if not isinstance(at, ModuleType):
            return hasattr(at, part)
        if part in getattr(at, "__all__", ()):
            if number == len(parts):
                return True  # without looking at it, which may need an extra
            at = getattr(at, part)
        elif is_documented(path):
            at = importlib.import_module(path)
        else:
            return False
    return True


def is_documented(path: str) -> bool:
    """Whether there is such a module, which says what it is for and what it offers."""
    try:
        module = importlib.import_module(path)
    except ImportError:
        return False
    return bool(module.__doc__) and hasattr(module, "__all__")
