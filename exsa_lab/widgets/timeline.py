"""The batch view: many generations on one clock, one lane each, and below them what the engine's steps used.

Rows (see `timeline_rows`) go to the page once each, as custom messages ``{"type": "rows", "seq": n, "reset": false,
"rows": [...]}``. A page that misses some, or opens later, says ``{"type": "hello"}`` and gets all of them again, the
first message with ``"reset": true``. Each time the engine comes to rest the page also gets how a static batcher would
have served the same requests, as ``{"type": "computed", "rows": [...]}``.
"""

from __future__ import annotations

import contextvars
import threading
import time
from collections import deque
from collections.abc import Sequence
from typing import Any, ClassVar

import traitlets

from exsa_lab.widgets.feed import wait_for_round
from exsa_lab.widgets.live import LiveWidget
from exsa_lab.widgets.scripts import read_script, read_styles
from exsa_lab.widgets.static_batching import StepTimes, requests_of, static_rows
from exsa_lab.widgets.timeline_rows import Recorder, Row
from exsa_lab.widgets.timeline_static import static_html, static_text

ROWS_PER_MESSAGE = 2_000
MAX_LIVE = 4
"""Timelines shown by `show_timeline` that go on following their engine; an older one stops where it is."""
IDLE_HZ = 2.0
SAVE_S = 30.0
"""A run longer than this is put into the notebook before it ends: its kernel may not live to see that."""


class BatchTimeline(LiveWidget):
    """Shows what an engine does for many generations, or what some generations did, live.

    With an engine it follows every generation from then on, and the ``history`` newest of before. With a list of
    generations it shows those, and the steps in which they took part. It ends by itself with the engine, with the last
    of the listed generations, or with `stop`. What a saved notebook keeps of it is renewed each time the
    engine comes to rest.

    Example::

        BatchTimeline(engine)
    """

    _esm = read_script("timeline.js")
    _css = read_styles("timeline.css")

    limits = traitlets.Dict().tag(sync=True)
    """The engine's ``slots`` and ``cells``; 0 where unknown."""

    def __init__(self, engine_or_generations: Any, *, history: int = 16, update_hz: float = 5.0) -> None:
        generations = list(engine_or_generations) if isinstance(engine_or_generations, Sequence) else None
        engine = _engine_of(generations) if generations is not None else engine_or_generations
        config = getattr(engine, "config", None)
        self._slots, self._cells = getattr(config, "n_seq_max", 0), getattr(config, "n_ctx", 0)
        super().__init__(limits={"slots": self._slots, "cells": self._cells})
        self.error: Exception | None = None
        self._engine = engine
        self._listed = sorted(generations, key=lambda gen: gen.id) if generations is not None else None
        self._skipped = {gen.id for gen in _old(engine, history)} if generations is None else set()
        self._recorder = Recorder(getattr(engine, "started", 0.0), own_steps=generations is not None)
        self._computed: list[Row] = []
        self._step_tokens = getattr(config, "step_tokens", 512)
        self._rested = time.monotonic()
        self._period = 1.0 / update_hz
        self._lock = threading.Lock()  # guards _recorder, _computed and _seq: this thread and the kernel's both send
        self._seq = 0
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run_without_context, name="exsa-timeline", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Follow no longer; what was shown stays."""
        self._stopping.set()
        if threading.current_thread() is not self._thread:
            self._thread.join()

    def close(self) -> None:
        """Stop and take the widget away."""
        self._stopping.set()
        super().close()

    @property
    def rows(self) -> list[Row]:
        """The rows so far."""
        with self._lock:
            return list(self._recorder.rows)

    @property
    def is_busy(self) -> bool:
        """Whether something shown still waits or runs."""
        with self._lock:
            return self._recorder.is_busy

    # Its own thread

    def _run_without_context(self) -> None:
        # An empty context: messages must not count as output of the cell that happened to create the widget.
        contextvars.Context().run(self._run)

    def _run(self) -> None:
        is_over = False
        while not is_over:
            is_over = self._stopping.is_set() or self._is_over()
            try:
                was_busy, is_busy = self._update()
                if (is_over or was_busy) and (not is_busy or time.monotonic() > self._rested + SAVE_S):
                    self._rest()
            except Exception as error:  # a broken view must not go unseen, nor harm what it shows
                self.error = error
                self.report(error, "This timeline stopped; the generations it shows go on.")
                return
            if not is_over:
                self._stopping.wait(self._period if is_busy else max(self._period, 1 / IDLE_HZ))
            if is_busy and not self._stopping.is_set():
                wait_for_round(self._period)

    def _rest(self) -> None:
        self._rested = time.monotonic()
        if not self.is_busy:
            self._compute()
        self.publish()

    def _compute(self) -> None:
        """Schedule the requests as a static batcher would, and tell the page."""
        steps = list(getattr(self._engine, "steps", ()))
        with self._lock:
            requests = requests_of(self._shown(), self._recorder.rows)
            if requests and any(step.tokens for step in steps):
                self._computed = static_rows(
                    requests, StepTimes(steps), slots=self._slots, step_tokens=self._step_tokens
                )
                self.send({"type": "computed", "rows": self._computed})

    def _is_over(self) -> bool:
        if self._listed is not None:
            return all(gen.state.is_final for gen in self._listed)
        return str(self._engine.state) != "open"

    def _update(self) -> tuple[bool, bool]:
        """Read and send what is new; returns whether something ran in the meantime, and whether it still does."""
        steps = getattr(self._engine, "steps", ())  # before the generations: see Recorder.read
        with self._lock:
            new, is_reset = self._recorder.read(self._shown(), steps)
            if is_reset:
                self._send_all_rows()
            elif new:
                self._send_rows(new)
            return bool(new), self._recorder.is_busy

    def _shown(self) -> list[Any]:
        generations = self._listed if self._listed is not None else self._engine.generations
        return [gen for gen in generations if gen.id not in self._skipped]

    # The page

    def _send_rows(self, rows: list[Row], *, reset: bool = False) -> None:
        for first in range(0, max(1, len(rows)), ROWS_PER_MESSAGE):
            part = rows[first : first + ROWS_PER_MESSAGE]
            self.send({"type": "rows", "seq": self._seq, "reset": reset and first == 0, "rows": part})
            self._seq += 1

    def _send_all_rows(self) -> None:
        self._send_rows(self._recorder.rows, reset=True)

    def answer(self, content: Any) -> None:
        """Send all rows to a page that lacks some."""
        if content == {"type": "hello"}:
            with self._lock:
                self._send_all_rows()
                if self._computed:
                    self.send({"type": "computed", "rows": self._computed})

    def static(self) -> tuple[str, str]:
        """Return the timeline as a picture in HTML, and as text."""
        with self._lock:
            rows, computed = list(self._recorder.rows), self._computed
        html = static_html(rows, computed, slots=self._slots, cells=self._cells)
        return html, static_text(rows, computed)


class TimelineDisplay:
    """A timeline in a cell's output, one of a few that are live."""

    _live: ClassVar[deque[BatchTimeline]] = deque()
    _live_lock = threading.Lock()  # guards _live

    def __init__(self, engine_or_generations: Any, *, history: int = 16, update_hz: float = 5.0) -> None:
        self.timeline = BatchTimeline(engine_or_generations, history=history, update_hz=update_hz)
        self.timeline.show()
        with self._live_lock:
            self._live.append(self.timeline)
            oldest = self._live.popleft() if len(self._live) > MAX_LIVE else None
        if oldest is not None:
            oldest.stop()

    def _ipython_display_(self) -> None:
        """Nothing: it is shown already, also where it is a cell's last expression."""


def show_timeline(engine: Any = None, *, history: int = 16, update_hz: float = 5.0) -> TimelineDisplay:
    """Show the batch view of an engine (the kernel's own by default), or of a list of generations, in this cell.

    It returns at once and follows what other cells submit.

    Example::

        show_timeline()
        gens = [engine.submit(prompt) for prompt in prompts]
    """
    if engine is None:
        from exsa_lab.loading import get_engine

        engine = get_engine()
    return TimelineDisplay(engine, history=history, update_hz=update_hz)


def _old(engine: Any, history: int) -> list[Any]:
    """Generations that are over and not among the newest ``history``."""
    over = [gen for gen in engine.generations if gen.state.is_final]
    return over[: max(0, len(over) - history)]


def _engine_of(generations: list[Any]) -> Any:
    """The engine the generations belong to; None for hand-made ones."""
    return getattr(generations[0], "engine", None) if generations else None
