"""Displays inside an Output widget: no front end renews what it holds there by a display's id, so the widget's own list
of outputs is changed.

A page tells the kernel what an Output widget holds once the cell is over; until then the list here is an older one.
"""

from __future__ import annotations

from typing import Any

from IPython.core.getipython import get_ipython
from ipywidgets import Output
from ipywidgets.widgets import widget as registry


def capturing_output() -> Output | None:
    """Return the Output widget that takes what the cell displays now, None where the cell's own output does."""
    kernel = getattr(get_ipython(), "kernel", None)
    if kernel is None:
        return None
    message = (kernel.get_parent("shell") or {}).get("header", {}).get("msg_id")
    # The newest last: of nested ones the innermost.
    widgets = [each for each in registry._instances.values() if isinstance(each, Output)]
    return next((each for each in reversed(widgets) if message and each.msg_id == message), None)


class CapturedDisplay:
    """One display in an Output widget, known by a text in its HTML. Renewed from any thread."""

    def __init__(self, output: Output, mark: str) -> None:
        self._output = output
        self._mark = mark
        self._bundle: dict[str, Any] | None = None

    def renew(self, bundle: dict[str, Any]) -> None:
        """Replace what the widget holds of this display, now and whenever the page tells of an older state."""
        if self._bundle is None:
            self._output.observe(self._replace, "outputs")
        self._bundle = bundle
        self._replace()

    def _replace(self, _change: object = None) -> None:
        outputs = tuple(
            {**each, "data": self._bundle} if self._is_mine(each) else each for each in self._output.outputs
        )
        if outputs != self._output.outputs:
            self._output.outputs = outputs
            self._tell_again()

    def _tell_again(self) -> None:
        """Send it with the next cell, too: nbclient hears nothing that is sent between cells."""
        shell = get_ipython()

        def tell(*_args: object) -> None:
            shell.events.unregister("post_run_cell", tell)
            self._output.send_state("outputs")

        if shell is not None:
            shell.events.register("post_run_cell", tell)

    def _is_mine(self, output: dict[str, Any]) -> bool:
        return self._mark in str(output.get("data", {}).get("text/html", ""))
