"""Controls in the place of a static view."""

from __future__ import annotations

import ipywidgets
import pytest

from exsa_lab.widgets.host import Host
from exsa_lab.widgets.scripts import WIDGET_VIEW


def test_it_shows_what_was_given_once_its_kernel_is_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("VSCODE_PID", "COLAB_NOTEBOOK_ID"):
        monkeypatch.delenv(name, raising=False)
    host = Host(ipywidgets.IntSlider(), "<p>A slider.</p>", "A slider.")
    assert host.static() == ("<p>A slider.</p>", "A slider.")
    bundle = host.bundle()
    assert "<p>A slider.</p>" in bundle["text/html"]
    assert bundle["text/plain"] == "A slider."
    assert WIDGET_VIEW not in bundle


def test_the_page_is_told_which_widget_to_put_there() -> None:
    child = ipywidgets.IntSlider()
    assert Host(child, "", "").get_state()["child"] == f"IPY_MODEL_{child.model_id}"


def test_another_programs_page_gets_the_controls_themselves(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VSCODE_PID", "1")
    host = Host(ipywidgets.IntSlider(), "", "")
    assert host.bundle()[WIDGET_VIEW]["model_id"] == host.child.model_id
    assert WIDGET_VIEW not in host.bundle(is_final=True)
