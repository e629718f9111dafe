"""What all live widgets are: static HTML that a page replaces by a live view, with errors beneath it."""

from __future__ import annotations

import logging
import threading
import uuid
from typing import Any

import anywidget
import traitlets
from IPython.display import display, update_display

from exsa_lab.errors import ExsaError
from exsa_lab.widgets.captured import CapturedDisplay, capturing_output
from exsa_lab.widgets.rows import visible
from exsa_lab.widgets.scripts import live_bundle

logger = logging.getLogger(__name__)


class LiveWidget(anywidget.AnyWidget):
    """A widget that a saved notebook, or one whose kernel is gone, shows as static HTML.

    It can be the last expression of a cell. A subclass gives `static`, calls `publish` when that has changed for good,
    and may answer its page in `answer`. What fails, there or on a thread of its own, is told
    with `report`: a log that nobody opens is not enough.
    """

    view_id = traitlets.Unicode().tag(sync=True)
    """Ties the static HTML of a display to this widget: the page then shows this instead."""
    problem = traitlets.Unicode().tag(sync=True)
    """What went wrong, shown beneath the view; empty where nothing did."""

    def __init__(self, **values: Any) -> None:
        self._is_displayed = False
        self._captured: CapturedDisplay | None = None
        self._display_lock = threading.Lock()  # guards _is_displayed: what is shown must not be older than its renewal
        super().__init__(view_id=uuid.uuid4().hex, **values)
        self.on_msg(self._receive)

    def static(self) -> tuple[str, str]:
        """Return what it shows now as HTML without a script, and as text."""
        raise NotImplementedError

    def answer(self, content: Any) -> None:
        """Answer a message of the page, which is not trusted: anything unexpected is ignored."""

    def report(self, error: Exception, what: str) -> None:
        """Show ``error`` beneath the view; ``what`` says what it means, as a sentence."""
        logger.error("%s", what, exc_info=error)
        why = str(error) if isinstance(error, ExsaError) else f"{type(error).__name__}: {error}"
        self.problem = f"{what} {visible(why)}"

    def bundle(self, *, is_final: bool = False) -> dict[str, Any]:
        """Return the data of a display of this widget; see `live_bundle`."""
        html, text = self.static()
        return live_bundle(html, text, self.view_id, self.model_id, is_final=is_final)

    def show(self) -> None:
        """Show this in the cell's output, as the last expression of the cell would."""
        with self._display_lock:
            display(self.bundle(), raw=True, display_id=self.view_id)
            self._is_displayed = True
            output = capturing_output()
            self._captured = CapturedDisplay(output, self.view_id) if output is not None else None

    def publish(self) -> None:
        """Renew what the notebook keeps of this, wherever it is shown; any thread may call it."""
        with self._display_lock:
            if self._is_displayed:
                bundle = self.bundle()
                update_display(bundle, raw=True, display_id=self.view_id)
                if self._captured is not None:
                    self._captured.renew(bundle)

    def _receive(self, _widget: object, content: Any, _buffers: object) -> None:
        try:
            self.answer(content)
        except Exception as error:
            self.report(error, "What was asked for here failed.")

    def _ipython_display_(self) -> None:
        self.show()

    def _repr_mimebundle_(self, **_kwargs: object) -> tuple[dict[str, Any], dict[str, Any]]:
        return self.bundle(), {}
