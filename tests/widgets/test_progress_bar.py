"""The progress bar, in a notebook and in a terminal."""

from __future__ import annotations

from typing import Any

import pytest

from exsa_lab.widgets import progress_bar
from exsa_lab.widgets.progress_bar import ProgressBar


class Kernel:
    kernel = True


@pytest.fixture
def shown(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str]]:
    """What a notebook was given: how, and as what text."""
    displays: list[tuple[str, str]] = []

    def taker(how: str) -> Any:
        return lambda data, *, raw, display_id: displays.append((how, data["text/plain"]))

    monkeypatch.setattr(progress_bar, "get_ipython", Kernel)
    monkeypatch.setattr(progress_bar, "display", taker("shown"))
    monkeypatch.setattr(progress_bar, "update_display", taker("renewed"))
    return displays


def test_it_appears_once_and_is_taken_away(shown: list[tuple[str, str]]) -> None:
    bar = ProgressBar("Loading")
    bar.update(0.5)
    bar.label = "Nearly \x1b there"
    bar.update(1)
    bar.finish("")
    assert [how for how, _ in shown] == ["shown", "renewed", "renewed"]
    assert "50%" in shown[0][1]
    assert shown[1][1].startswith("Nearly ␛ there")
    assert shown[2][1] == ""


def test_nothing_is_taken_away_that_never_appeared(shown: list[tuple[str, str]]) -> None:
    ProgressBar("Loading").finish("")
    assert shown == []


def test_a_terminal_gets_the_last_line_alone(capsys: pytest.CaptureFixture[str]) -> None:
    bar = ProgressBar("Loading")
    bar.update(0.5)
    bar.finish("Done.")
    assert capsys.readouterr().out == "Done.\n"
