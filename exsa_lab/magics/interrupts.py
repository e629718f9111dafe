"""How a cell waits, and what it says when it is interrupted."""

from __future__ import annotations

from contextlib import suppress

from exsa_lab.engine.generation import Generation
from exsa_lab.signals import held_interrupts
from exsa_lab.widgets.display import View, ViewName, show

_POLL_S = 0.2
"""Longest wait at a stretch: on Windows a waiting lock cannot be interrupted."""
_FAREWELL_S = 5.0
"""Longest wait for a cancelled generation to end and be shown."""


class CellInterrupted(KeyboardInterrupt):
    """The user interrupted the cell, which fails with one line instead of a traceback."""

    def _render_traceback_(self) -> list[str]:
        return [str(self)]


def watch(generation: Generation, view_name: ViewName) -> None:
    """Show a generation until it is over, however it ends.

    An interrupt cancels it, lets the view show what there is, and raises CellInterrupted.
    """
    view: View | None = None
    try:
        view = show(generation, view_name)
        while not (view.wait(_POLL_S) and generation.wait(_POLL_S)):
            pass
    except KeyboardInterrupt:
        with suppress(KeyboardInterrupt), held_interrupts():  # pressed again and again
            generation.cancel("interrupted")
            (view or generation).wait(_FAREWELL_S)
        count = len(generation.tokens)
        raise CellInterrupted(
            f"Interrupted after {count} token{'s' * (count != 1)}; the text so far is in _exsa.text."
        ) from None
