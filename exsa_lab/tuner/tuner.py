"""The tuner: controls, Run, Stop, Compare, a live chart, a history, and the code of what is set."""

from __future__ import annotations

import contextvars
import logging
import threading
import uuid
from collections.abc import Callable
from html import escape
from typing import Any

import ipywidgets as w
from IPython.display import display, update_display

from exsa_lab.config import EngineConfig
from exsa_lab.engine.generation import Generation
from exsa_lab.errors import ConfigError, EngineNotLoaded, ExsaError
from exsa_lab.experiments import Experiment, Setting, run_experiment
from exsa_lab.loading import get_engine
from exsa_lab.plots import acceptance_by_position, compare
from exsa_lab.plots.figure import Figure
from exsa_lab.tuner.chart import LiveChart
from exsa_lab.tuner.controls import Controls
from exsa_lab.tuner.history import table_html, table_text
from exsa_lab.tuner.models import ModelChoice
from exsa_lab.widgets.copyable import Copyable
from exsa_lab.widgets.host import Host
from exsa_lab.widgets.rows import visible

logger = logging.getLogger(__name__)

REPEATS = 3
_NEEDS_KERNEL = "The tuner's controls need their kernel: run this cell to have them. What was run stands below."


class Tuner:
    """Tries settings on the kernel's engine, in the background: cells and controls stay responsive.

    Show it as the last line of a cell. Beneath the controls stands the table of all runs, which a saved notebook
    keeps. ``tuner.runs`` holds the experiments, their generations and traces included.

    Example::

        tuner = Tuner()
        tuner
    """

    def __init__(
        self,
        engine: Any = None,
        *,
        prompts: list[str] | None = None,
        setting: Setting | None = None,
        update_hz: float = 4.0,
    ) -> None:
        """Use the kernel's engine unless another is given; start with these prompts and this setting."""
        self._given = engine
        self.runs: list[Experiment] = []
        self._period = 1 / update_hz
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._table_id = uuid.uuid4().hex
        loaded = self._loaded()
        at_once = (loaded.config if loaded else EngineConfig()).n_seq_max
        self.controls = Controls(prompts, at_once, setting or Setting())
        self.chart = LiveChart()
        self.models = ModelChoice(
            loaded.target.name if loaded else "none is loaded",
            lambda text, is_error: self._say(text, is_error=is_error),
            lambda: self.is_running,
        )
        self.models.box.layout.display = "none" if engine is not None else ""
        self._build()
        self.controls.observe(lambda _change: self._show_code())
        self._show_code()

    @property
    def engine(self) -> Any:
        """The engine it runs on: the one given, or whichever the kernel has now."""
        return self._given if self._given is not None else get_engine()

    def _loaded(self) -> Any:
        try:
            return self.engine
        except EngineNotLoaded:  # its own row of controls loads one
            return None

    def _build(self) -> None:
        self.run_button = w.Button(description="Run", button_style="primary", tooltip="Run this setting on the prompts")
        self.stop_button = w.Button(description="Stop", disabled=True, tooltip="Stop the run; what is done is kept")
        self.compare_button = w.Button(description="Compare", disabled=True, tooltip="Compare run B with run A")
        self.repeat_button = w.Button(
            description=f"Repeat {REPEATS} times", disabled=True, tooltip="Run A's and B's settings again, in turns"
        )
        self.run_a = w.Dropdown(
            description="A", options=[], layout=w.Layout(width="9em"), style={"description_width": "1em"}
        )
        self.run_b = w.Dropdown(
            description="B", options=[], layout=w.Layout(width="9em"), style={"description_width": "1em"}
        )
        self.status = w.HTML()
        self.comparison = w.Output()
        self.code = Copyable(title="The code of this setting", texts=[["as %%exsa", ""], ["as Python", ""]])
        for button, act in (
            (self.run_button, self.start),
            (self.stop_button, self.stop),
            (self.compare_button, self.compare),
            (self.repeat_button, self.repeat),
        ):
            button.on_click(lambda _button, act=act: self._try(act))
        buttons = (self.run_button, self.stop_button, self.run_a, self.run_b, self.compare_button, self.repeat_button)
        parts = (self.models.box, self.controls.box, w.HBox(buttons), self.status, self.code, self.chart.figure)
        self.box = w.VBox([*parts, self.comparison])
        self.host = Host(self.box, f"<p>{_NEEDS_KERNEL}</p>", _NEEDS_KERNEL)

    def _try(self, act: Callable[[], object]) -> None:
        """Do what a button asks for; what fails unforeseen is told beneath the controls, not in a log alone."""
        try:
            act()
        except Exception as error:
            self.host.report(error, "What was asked for here failed.")

    # Running

    @property
    def is_running(self) -> bool:
        return self._thread is not None and self._thread.is_alive()

    def start(self) -> None:
        """Run what is set, in the background. A mistake is shown beneath the buttons."""
        if self.is_running:
            return
        try:
            engine, setting, prompts = self.engine, self.controls.setting(), self.controls.prompts()
        except ExsaError as error:
            self._say(str(error), is_error=True)
            return
        self._begin(engine, [(prompts, setting)])

    def repeat(self) -> None:
        """Run the settings of A and B again in turns, so that their comparison says how sure it is."""
        if self.is_running or self.run_a.value is None or self.run_b.value is None:
            return
        pair = [(list(run.prompts), run.setting) for run in (self.runs[self.run_a.value], self.runs[self.run_b.value])]
        try:
            engine = self.engine
        except ExsaError as error:
            self._say(str(error), is_error=True)
            return
        self._begin(engine, pair * REPEATS)

    def _begin(self, engine: Any, plan: list[tuple[list[str], Setting]]) -> None:
        self._stop = threading.Event()
        self.run_button.disabled, self.stop_button.disabled = True, False
        context = contextvars.Context()  # what the thread shows must not count as output of the cell that runs then
        self._thread = threading.Thread(
            target=context.run, args=(self._run_all, engine, plan, self._stop), name="exsa-tuner", daemon=True
        )
        self._thread.start()

    def stop(self) -> None:
        """Stop the run and keep what is done; returns at once."""
        self._stop.set()
        self.stop_button.disabled = True

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until the run is over; False when ``timeout`` seconds passed before that."""
        if self._thread is not None:
            self._thread.join(timeout)
        return not self.is_running

    def _run_all(self, engine: Any, plan: list[tuple[list[str], Setting]], stop: threading.Event) -> None:
        try:
            for prompts, setting in plan:
                if not stop.is_set():
                    self._run(engine, prompts, setting, stop, is_repetition=len(plan) > 1)
        finally:
            self.run_button.disabled, self.stop_button.disabled = False, True

    def _run(
        self, engine: Any, prompts: list[str], setting: Setting, stop: threading.Event, *, is_repetition: bool
    ) -> None:
        self.chart.begin(len(self.runs) + 1)
        try:
            run = run_experiment(
                engine, prompts, setting, on_update=self._show_progress, stop=stop, update_s=self._period
            )
        except Exception as error:
            if not isinstance(error, ExsaError):
                logger.exception("A run of the tuner failed.")
            self._say(str(error) or repr(error), is_error=True)
        else:
            self.runs.append(run)
            self._try(lambda: self._show_result(run, is_repetition=is_repetition))

    # Showing

    def _say(self, text: str, *, is_error: bool = False) -> None:
        sign, color = ("▲ ", "#c45000") if is_error else ("", "inherit")
        self.status.value = f'<span style="color:{color}">{sign}{escape(visible(text))}</span>'

    def _show_progress(self, run: Experiment) -> None:
        self.chart.update(run)
        total = len(run.prompts) * len(run.setting.seeds)
        done = sum(gen.state.is_final for gen in run.generations)
        speed = run.summary()["tokens_per_second"]
        self._say(f"{done} of {total} done, {speed:.1f} tok/s, {run.seconds:.1f} s")

    def _show_result(self, run: Experiment, *, is_repetition: bool) -> None:
        failed = [gen for gen in run.generations if gen.error is not None]
        number = len(self.runs)
        if failed:
            self._say(f"Run {number}: {len(failed)} failed, the first with: {failed[0].error}", is_error=True)
        else:
            ended = "stopped" if run.was_stopped else "done"
            self._say(
                f"Run {number} {ended}: {run.summary()['tokens_per_second']:.1f} tok/s together ({run.sureness})."
            )
        choices = [(f"run {i + 1}", i) for i in range(number)]
        for menu, index in ((self.run_a, max(0, number - 2)), (self.run_b, number - 1)):
            chosen = menu.value
            menu.options = choices
            menu.value = chosen if is_repetition else index
        self.compare_button.disabled = self.repeat_button.disabled = number < 2
        update_display(self._table(), raw=True, display_id=self._table_id)

    def compare(self) -> list[Figure]:
        """Show how run B compares with run A, each with all runs like it, and the acceptance of both."""
        if self.run_a.value is None or self.run_b.value is None:
            self._say("there is nothing to compare yet: run two settings.", is_error=True)
            return []
        a, b = self.runs[self.run_a.value], self.runs[self.run_b.value]
        names = (f"run {self.run_a.value + 1}", f"run {self.run_b.value + 1}")
        try:
            figures = [compare(self._all_like(a, b), self._all_like(b, a), names=names)]
        except ConfigError as error:
            self._say(str(error), is_error=True)
            return []
        for name, run in zip(names, (a, b), strict=True):
            if any(gen.stats.drafted_tokens for gen in run.generations):
                figures.append(
                    acceptance_by_position(run.generations).update_layout(title=f"Acceptance by place, {name}")
                )
        self.comparison.outputs = tuple(
            {"output_type": "display_data", "data": figure._repr_mimebundle_(), "metadata": {}} for figure in figures
        )
        return figures

    def _all_like(self, run: Experiment, other: Experiment) -> list[Generation]:
        """The generations of all runs of a run's setting on its prompts, unless the other run is one of them."""
        alike = [run] if run.is_like(other) else [each for each in self.runs if each.is_like(run)]
        return [gen for each in alike for gen in each.generations]

    def _show_code(self) -> None:
        try:
            setting, prompts = self.controls.setting(), self.controls.prompts()
        except ExsaError as error:
            magic = python = f"# {error}"
        else:
            magic, python = setting.as_magic(prompts[0]), setting.as_python(prompts)
        self.code.texts = [["as %%exsa", magic], ["as Python", python]]

    def _table(self) -> dict[str, str]:
        return {"text/html": table_html(self.runs), "text/plain": table_text(self.runs)}

    def _ipython_display_(self) -> None:
        self.host.show()
        display(self._table(), raw=True, display_id=self._table_id)
