"""What an Output widget holds of a display is renewed too, whether the page told of it before or after."""

from __future__ import annotations

from typing import Any

import pytest
from IPython.core.events import EventManager
from ipywidgets import Output

from exsa_lab.widgets import captured
from exsa_lab.widgets.captured import CapturedDisplay, capturing_output

OLD = {"output_type": "display_data", "metadata": {}, "data": {"text/html": '<div data-view="id">waiting</div>'}}
OTHER = {"output_type": "stream", "name": "stdout", "text": "before"}
NEW = {"text/html": '<div data-view="id">done</div>', "text/plain": "done"}


def _kernel(monkeypatch: pytest.MonkeyPatch, message: str) -> None:
    class Kernel:
        def get_parent(self, channel: str) -> dict[str, Any]:
            return {"header": {"msg_id": message}}

    class Shell:
        kernel = Kernel()

    monkeypatch.setattr(captured, "get_ipython", Shell)


def test_the_widget_that_takes_this_cells_output_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    output, other = Output(), Output()
    other.msg_id = "earlier"
    _kernel(monkeypatch, "now")
    assert capturing_output() is None
    output.msg_id = "now"
    assert capturing_output() is output


def test_without_a_kernel_there_is_none() -> None:
    assert capturing_output() is None


def test_it_is_sent_again_with_the_next_cell_and_once(monkeypatch: pytest.MonkeyPatch) -> None:
    _kernel(monkeypatch, "now")
    events = EventManager(None, {"post_run_cell": lambda: None})
    monkeypatch.setattr(captured.get_ipython, "events", events, raising=False)
    output = Output(outputs=(OLD,))
    sent: list[str] = []
    monkeypatch.setattr(output, "send_state", lambda key: sent.append(key))
    CapturedDisplay(output, "id").renew(NEW)
    sent.clear()
    for _ in range(2):
        events.trigger("post_run_cell")
    assert sent == ["outputs"]


def test_what_the_page_told_before_is_replaced_at_once() -> None:
    output = Output(outputs=(OTHER, OLD))
    CapturedDisplay(output, "id").renew(NEW)
    assert output.outputs == (OTHER, {**OLD, "data": NEW})


def test_what_the_page_tells_afterwards_is_replaced_each_time() -> None:
    output = Output()
    display = CapturedDisplay(output, "id")
    display.renew({"text/html": "half"})
    display.renew(NEW)
    output.outputs = (OTHER,)
    output.outputs = (OTHER, OLD)
    assert output.outputs == (OTHER, {**OLD, "data": NEW})
    output.outputs = (OLD, OTHER)  # told before it heard of the renewal
    assert output.outputs == ({**OLD, "data": NEW}, OTHER)
