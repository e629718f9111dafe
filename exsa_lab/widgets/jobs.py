"""The table of jobs: what waits, runs and is done on an engine, live with a Stop button for each, or as a snapshot."""

from __future__ import annotations

import contextvars
import threading
import time
from collections.abc import Mapping
from typing import Any

import traitlets
from IPython.core.getipython import get_ipython
from IPython.display import display

from exsa_lab.engine.engine import Engine, EngineState
from exsa_lab.engine.generation import Generation
from exsa_lab.events import RoundEvent, State
from exsa_lab.widgets.live import LiveWidget
from exsa_lab.widgets.panel import Section, to_html, to_text
from exsa_lab.widgets.rows import visible
from exsa_lab.widgets.scripts import read_script, read_styles

HEADER = ("id", "name", "state", "tokens", "tok/s", "cached", "draft length", "waited", "prompt")
MAX_OVER = 15
"""Most jobs shown that are over; those that wait or run are shown up to `MAX_ACTIVE`."""
MAX_ACTIVE = 64
SAVE_S = 30.0
"""While jobs run the notebook's copy is renewed this often: the kernel may not live to see their end."""
_PROMPT_CHARS = 60
_LOOK_BACK = 40
"""Events searched for the latest round; one round leaves at most some 20."""

Namespace = Mapping[str, Any]


def show_jobs(engine: Engine, namespace: Namespace, *, is_live: bool = True) -> JobsDisplay | None:
    """Show the jobs in the cell's output; live where the front end is a notebook and ``is_live``.

    ``namespace`` is where a job's name comes from: the variable that holds its handle.
    """
    if is_live and hasattr(get_ipython(), "kernel"):
        return JobsDisplay(engine, namespace)
    rows = job_rows(engine, namespace)
    display({"text/plain": jobs_text(rows), "text/html": jobs_html(rows)}, raw=True)
    return None


# Rows


def job_rows(engine: Engine, namespace: Namespace) -> list[dict[str, Any]]:
    """Return what the table shows, oldest job first: texts by column, plus ``is_active`` and the whole ``id``."""
    generations = engine.generations
    active = [generation for generation in generations if not generation.state.is_final][:MAX_ACTIVE]
    over = [generation for generation in generations if generation.state.is_final][-MAX_OVER:]
    names = _names(namespace)
    return [_row(generation, names) for generation in sorted([*active, *over], key=lambda one: one.id)]


def _names(namespace: Namespace) -> dict[int, str]:
    """Variables that hold a handle, by its identity; names with an underscore are ours or IPython's."""
    held = [(name, value) for name, value in list(namespace.items()) if isinstance(value, Generation)]
    return {id(value): name for name, value in held if not name.startswith("_")}


def _row(generation: Generation, names: Mapping[int, str]) -> dict[str, Any]:
    stats, state = generation.stats, generation.state
    last = next((e for e in reversed(generation.events[-_LOOK_BACK:]) if isinstance(e, RoundEvent)), None)
    is_queued = state is State.WAITING and not stats.rounds
    waited = time.perf_counter() - generation.submitted if is_queued else stats.waiting_s
    return {
        "id": str(generation.id),
        "name": visible(names.get(id(generation), generation.origin)),
        "state": str(state) + _why(generation),
        "tokens": f"{len(generation.tokens)} of {generation.params.max_tokens}",
        "tok/s": f"{stats.tokens_per_second:.1f}" if stats.tokens_per_second else "",
        "cached": f"{stats.cached_prompt_tokens} of {stats.prompt_tokens}" if stats.prompt_tokens else "",
        "draft length": str(last.k) if last else "",
        "waited": f"{waited:.1f} s",
        "prompt": _beginning(generation.prompt),
        "is_active": not state.is_final,
    }


def _why(generation: Generation) -> str:
    if generation.error is not None:
        return f" ({type(generation.error).__name__})"
    return " (length)" if generation.finish_reason == "length" else ""


def _beginning(prompt: str | list[dict[str, str]]) -> str:
    text = prompt if isinstance(prompt, str) else prompt[-1].get("content", "") if prompt else ""
    line = visible(" ".join(text[: 4 * _PROMPT_CHARS].split()))
    return line if len(line) <= _PROMPT_CHARS else line[: _PROMPT_CHARS - 1] + "…"


def jobs_html(rows: list[dict[str, Any]]) -> str:
    """Return the table as HTML without a script, every text escaped."""
    return to_html("", [_section(rows)])


def jobs_text(rows: list[dict[str, Any]]) -> str:
    """Return the table as plain text."""
    return to_text("", [_section(rows)])


def _section(rows: list[dict[str, Any]]) -> Section:
    if not rows:
        return Section(title(rows), is_wide=True)
    return Section(title(rows), tuple(tuple(row[name] for name in HEADER) for row in rows), HEADER, is_wide=True)


def title(rows: list[dict[str, Any]]) -> str:
    """Say how many wait and run."""
    if not rows:
        return "No jobs yet"
    counts = {state: sum(row["state"] == state for row in rows) for state in ("running", "waiting")}
    sure = "; speeds are of one run each" if any(row["tok/s"] for row in rows) else ""
    return f"Jobs: {counts['running']} running, {counts['waiting']} waiting{sure}"


# Live


class JobsTable(LiveWidget):
    """The live table. Stop in the page cancels a job once the kernel is free to listen."""

    _esm = read_script("jobs.js")
    _css = read_styles("jobs.css")

    title = traitlets.Unicode().tag(sync=True)
    header = traitlets.List(list(HEADER)).tag(sync=True)
    rows = traitlets.List().tag(sync=True)

    def __init__(self, engine: Engine) -> None:
        super().__init__()
        self._engine = engine

    def update(self, rows: list[dict[str, Any]]) -> None:
        """Show these rows; nothing is sent when they are the same."""
        with self.hold_sync():
            self.title = title(rows)
            self.rows = rows

    @property
    def is_busy(self) -> bool:
        """Whether a job shown waits or runs."""
        return any(row["is_active"] for row in self.rows)

    def static(self) -> tuple[str, str]:
        """Return the table as HTML and as text."""
        return jobs_html(self.rows), jobs_text(self.rows)

    def bundle(self, *, is_final: bool | None = None) -> dict[str, Any]:
        """Return the data of a display; where nothing runs it names no widget."""
        return super().bundle(is_final=not self.is_busy if is_final is None else is_final)

    def answer(self, content: Any) -> None:
        """Cancel one job, or all of them."""
        match content:
            case {"type": "stop", "id": str(wanted)}:
                for generation in self._engine.generations:
                    if wanted in (str(generation.id), "all"):
                        generation.cancel("stopped in the table")


class JobsDisplay:
    """Keeps one table in a cell's output up to date, and what a saved notebook keeps of it.

    Ends with the engine, or when a newer table takes over.
    """

    # The one table that is live; replaced by the cell that shows a newer one.
    _latest: JobsDisplay | None = None

    def __init__(self, engine: Engine, namespace: Namespace, *, update_hz: float = 4.0) -> None:
        self._engine = engine
        self._namespace = namespace
        self._period = 1.0 / update_hz
        self._saved = time.monotonic()
        self._stopped = threading.Event()
        self.table = JobsTable(engine)
        self.table.update(job_rows(engine, namespace))
        if JobsDisplay._latest is not None:
            JobsDisplay._latest.stop()
        JobsDisplay._latest = self
        self.table.show()
        self._thread = threading.Thread(target=self._run_without_context, name="exsa-jobs", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Leave the table as it is now and stop updating it."""
        self._stopped.set()
        self._thread.join()

    def _run_without_context(self) -> None:
        # An empty context makes the kernel send updates in the name of the cell that runs now; see `feed.Feed`.
        contextvars.Context().run(self._run)

    def _run(self) -> None:
        try:
            while not self._stopped.wait(self._period) and self._engine.state is EngineState.OPEN:
                self._refresh()
            self._refresh()
            self.table.publish()
        except Exception as error:
            self.table.report(error, "This table stopped; the jobs go on.")
        else:
            self.table.close()

    def _refresh(self) -> None:
        was_busy = self.table.is_busy
        self.table.update(job_rows(self._engine, self._namespace))
        is_busy = self.table.is_busy
        if was_busy != is_busy or (is_busy and time.monotonic() > self._saved + SAVE_S):
            self._saved = time.monotonic()
            self.table.publish()
