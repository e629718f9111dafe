"""What all live widgets share: when they are shown and renewed, and how failures are told."""

from __future__ import annotations

import logging
from typing import Any

import pytest

from exsa_lab.errors import ConfigError
from exsa_lab.widgets import live
from exsa_lab.widgets.live import LiveWidget
from exsa_lab.widgets.scripts import WIDGET_VIEW, read_script


class Counter(LiveWidget):
    """Counts what its page asks for."""

    _esm = read_script("host.js")

    def __init__(self) -> None:
        self.count = 0
        super().__init__()

    def static(self) -> tuple[str, str]:
        return f"<b>{self.count}</b>", str(self.count)

    def answer(self, content: Any) -> None:
        self.count += content["by"]


Display = tuple[str, dict[str, Any], str]


@pytest.fixture
def displays(monkeypatch: pytest.MonkeyPatch) -> list[Display]:
    """What was displayed and renewed, with ids."""
    made: list[Display] = []
    for name in ("display", "update_display"):
        monkeypatch.setattr(
            live, name, lambda data, *, raw, display_id, name=name: made.append((name, data, display_id))
        )
    return made


def test_it_is_renewed_only_once_it_is_shown_and_under_the_same_id(displays: list[Display]) -> None:
    widget = Counter()
    widget.publish()
    assert displays == []
    widget.show()
    widget.count = 7
    widget.publish()
    assert [(name, data["text/plain"]) for name, data, _ in displays] == [("display", "0"), ("update_display", "7")]
    assert {display_id for *_, display_id in displays} == {widget.view_id}


def test_a_saved_notebook_keeps_the_static_view_only(displays: list[Display], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("VSCODE_PID", raising=False)
    monkeypatch.delenv("COLAB_NOTEBOOK_ID", raising=False)
    widget = Counter()
    assert set(widget.bundle()) == {"text/html", "text/plain"}
    assert f'data-view="{widget.view_id}"' in widget.bundle()["text/html"]
    monkeypatch.setenv("VSCODE_PID", "1")
    assert widget.bundle()[WIDGET_VIEW]["model_id"] == widget.model_id
    assert WIDGET_VIEW not in widget.bundle(is_final=True)
    assert widget._repr_mimebundle_() == (widget.bundle(), {})


def test_two_widgets_have_views_of_their_own() -> None:
    assert Counter().view_id != Counter().view_id


def test_messages_are_answered_and_what_fails_is_told_beneath(caplog: pytest.LogCaptureFixture) -> None:
    widget = Counter()
    widget._receive(widget, {"by": 2}, [])
    assert (widget.count, widget.problem) == (2, "")
    with caplog.at_level(logging.ERROR):
        widget._receive(widget, {"nonsense\x1b[2J": 1}, [])
    assert widget.problem == "What was asked for here failed. KeyError: 'by'"
    assert caplog.records


def test_an_error_of_ours_is_told_without_its_class_and_cannot_act_on_a_terminal() -> None:
    widget = Counter()
    widget.report(ConfigError("no \x1b[2J here.", hint="Try."), "It failed.")
    assert widget.problem == "It failed. no \\x1b[2J here. Try."
