"""Names imported on first use, and packages that can be called."""

from __future__ import annotations

import sys
import textwrap
from pathlib import Path

import pytest

from exsa_lab.lazy import callable_package, lazy_members


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A package of two modules, one of which offers a function."""
    folder = tmp_path / "lazy_example"
    folder.mkdir()
    homes = {"greet": "lazy_example.greetings", "tool": "lazy_example.tool", "lost": "lazy_example.greetings"}
    (folder / "__init__.py").write_text(
        textwrap.dedent(f"""
            from exsa_lab.lazy import lazy_members
            own = 1
            __getattr__, __dir__ = lazy_members(__name__, {homes})
        """)
    )
    (folder / "greetings.py").write_text("def greet(): return 'hello'\n")
    (folder / "tool.py").write_text("name = 'a module'\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    for name in [name for name in sys.modules if name.startswith("lazy_example")]:
        monkeypatch.delitem(sys.modules, name)
    return "lazy_example"


def test_a_member_is_imported_when_it_is_first_used(package: str) -> None:
    module = __import__(package)

    assert "lazy_example.greetings" not in sys.modules
    assert module.greet() == "hello"
    assert "lazy_example.greetings" in sys.modules


def test_a_module_of_the_members_name_is_the_member(package: str) -> None:
    assert __import__(package).tool is sys.modules["lazy_example.tool"]


def test_dir_names_members_and_what_is_there_already(package: str) -> None:
    assert {"greet", "tool", "lost", "own"} <= set(dir(__import__(package)))


def test_unknown_and_lost_names_are_attribute_errors(package: str) -> None:
    module = __import__(package)
    for name in ("wave", "lost"):
        with pytest.raises(AttributeError, match=f"no attribute '{name}'"):
            getattr(module, name)


def test_a_package_can_be_called(package: str) -> None:
    module = __import__(package)
    callable_package(package, lambda *args, **kwargs: (args, kwargs))

    assert module(1, a=2) == ((1,), {"a": 2})
    assert module.own == 1


def test_of_a_package_that_is_not_there() -> None:
    get, _ = lazy_members("nowhere", {})
    with pytest.raises(AttributeError, match="module 'nowhere' has no attribute 'x'"):
        get("x")
