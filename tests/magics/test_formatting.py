"""Filling {names} of a cell from the notebook."""

from __future__ import annotations

from datetime import date

import pytest

from exsa_lab.errors import ConfigError
from exsa_lab.magics.formatting import fill


@pytest.mark.parametrize("prompt", ["{", "}", "{}", "{0}", "{word.nothing}", "{word:zz}"])
def test_format_that_cannot_work(prompt: str) -> None:
    with pytest.raises(ConfigError):
        fill(prompt, {"word": 3})


class _Sly:
    """Fails whenever it is asked anything."""

    def __getattr__(self, name: str) -> str:
        raise RuntimeError(f"no {name}\x1b[2J")

    def __format__(self, spec: str) -> str:
        raise RuntimeError("no")


@pytest.mark.parametrize(
    ("prompt", "named"),
    [
        ("{word:>1000000000}", "too wide"), ("{word:.1000000000f}", "too wide"), ("{word:{wide}}", "too wide"),
        ("{row[age]}", "age"), ("{row[name].first}", "first"), ("{}", "names no variable"), ("{0}", "no variable"),
        ("{sly}", "cannot be written"), ("{sly.a}", "cannot be read"), ("{sly!z}", "cannot"), ("{\x1b}", "variable"),
        ("{missing}", "missing"), ("{word!r:>99999}", "too wide"), ("{row[}", "filled"),
    ],
)  # fmt: skip
def test_format_says_which_name_failed(prompt: str, named: str) -> None:
    with pytest.raises(ConfigError, match=named) as caught:
        fill(prompt, {"word": 3, "wide": 10**9, "row": {"name": "x"}, "sly": _Sly()})
    assert str(caught.value).isprintable()


def test_format_still_does_what_it_should() -> None:
    assert fill("{a:>5}{b:.2f}{c!r}{d[k]}{e:%Y}", {"a": 1, "b": 2, "c": "x", "d": {"k": 3}, "e": date(2026, 1, 1)}) == (
        "    12.00'x'32026"
    )
