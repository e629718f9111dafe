"""The tuner's choice of models: loads another pair in the background."""

from __future__ import annotations

import contextvars
import threading
from collections.abc import Callable
from typing import Any

import ipywidgets as w

from exsa_lab.errors import ExsaError
from exsa_lab.loading import load
from exsa_lab.models.catalog import PAIRS

_WIDE = {"description_width": "8.5em"}


class ModelChoice:
    """Target and draft by catalog name, path or hub address, and a button that loads them as the kernel's engine.

    ``loaded`` names the target that is there; ``say(text, is_error)`` tells how it went; ``is_busy()`` says whether a
    run would lose its engine.
    """

    def __init__(self, loaded: str, say: Callable[[str, bool], None], is_busy: Callable[[], bool]) -> None:
        self._say = say
        self._is_busy = is_busy
        style: dict[str, Any] = {"style": _WIDE, "ensure_option": False}
        wide, usual = w.Layout(width="28em"), w.Layout(width="21em")
        self.target = w.Combobox(value="", options=list(PAIRS), description="target", layout=wide, **style)
        self.target.placeholder = loaded
        drafts = ["auto", "none", *PAIRS]
        self.draft = w.Combobox(value="auto", options=drafts, description="draft", layout=usual, **style)
        self.button = w.Button(description="Load", tooltip="Load these models; the ones before are closed")
        self.progress = w.FloatProgress(min=0, max=1, layout=w.Layout(width="12em", display="none"))
        self.button.on_click(lambda _button: self.start())
        parts = [self.target, self.draft, self.button, self.progress]
        self.box = w.HBox(parts, layout=w.Layout(flex_flow="row wrap"))
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Load what is chosen, in the background."""
        if self._is_busy():
            self._say("stop the run first: loading closes its engine.", True)
        elif not self.target.value:
            self._say("choose a target first: a name of the list, a .gguf path or hf:owner/repo:FORMAT.", True)
        elif not self.button.disabled:
            self.button.disabled = True
            self.progress.layout.display = ""
            context = contextvars.Context()
            self._thread = threading.Thread(target=context.run, args=(self._load,), name="exsa-tuner-load", daemon=True)
            self._thread.start()

    def wait(self, timeout: float | None = None) -> None:
        """Wait until loading is over."""
        if self._thread is not None:
            self._thread.join(timeout)

    def _load(self) -> None:
        draft = None if self.draft.value in ("none", "") else self.draft.value
        try:
            engine = load(self.target.value, draft, progress=self._show_progress)
        except ExsaError as error:
            self._say(str(error), True)
        else:
            partner = f" with {engine.draft.name}" if engine.draft else " without a draft"
            self._say(f"{engine.target.name}{partner} is loaded.", False)
        finally:
            self.button.disabled = False
            self.progress.layout.display = "none"

    def _show_progress(self, fraction: float) -> None:
        if fraction - self.progress.value > 0.02 or fraction == 1 or fraction < self.progress.value:
            self.progress.value = fraction
