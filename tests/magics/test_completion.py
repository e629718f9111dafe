"""The Tab key proposes options, their values and the names of models."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from IPython.core.completer import provisionalcompleter

from exsa_lab.config import DRAFTER_NAMES
from exsa_lab.models.catalog import known_names
from exsa_lab.models.conversion import FORMATS
from tests.shell import Shell, shell


@pytest.fixture(scope="module")
def ip() -> Iterator[Shell]:
    with shell() as made:
        yield made


def proposed(ip: Shell, line: str) -> list[str]:
    with provisionalcompleter():
        return [found.text for found in ip.ip.Completer.completions(line, len(line))]


@pytest.mark.parametrize(
    ("line", "options"),
    [
        ("%%exsa --dra", ["--drafter", "--draft-length"]),
        ("%exsa_load some.gguf --n-c", ["--n-ctx"]),
        ("%exsa_jobs --", ["--once"]),
    ],
)
def test_options(ip: Shell, line: str, options: list[str]) -> None:
    assert [text for text in proposed(ip, line) if text.startswith("--")] == options


@pytest.mark.parametrize(
    ("line", "values"),
    [
        ("%%exsa --drafter ", list(DRAFTER_NAMES)),
        ("%%exsa --temperature 1 --drafter n", ["ngram", "none"]),
        ("%%exsa --view t", ["tokens", "text"]),
        ("%%exsa --draft-length a", ["auto"]),
        ("%exsa_load smol", [name for name in known_names() if name.startswith("smol")]),
        ("%exsa_load some.gguf --draft au", ["auto"]),
        ("%exsa_load some.gguf --weights q8", [name for name in FORMATS if name.startswith("q8")]),
    ],
)
def test_values(ip: Shell, line: str, values: list[str]) -> None:
    found = proposed(ip, line)
    assert values
    assert [text for text in found if text in values] == values
    assert not [text for text in found if text.startswith("--")]


def test_a_number_has_no_values_to_propose(ip: Shell) -> None:
    assert not [text for text in proposed(ip, "%%exsa --max-tokens ") if text.startswith("--")]


def test_the_help_of_a_cell_magic_begins_as_it_is_typed(ip: Shell) -> None:
    magics = ip.ip.magics_manager.magics
    assert "%%exsa " in magics["cell"]["exsa"].__doc__
    assert "\n  %exsa_load " in magics["line"]["exsa_load"].__doc__
