"""The what-if explorer: the formula of speculative decoding with its knobs, and what was really measured beside it.

The page gets the cost curves once and computes by itself (explore_model.js), so it goes on without a kernel.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict
from typing import Any

import traitlets

from exsa_lab.config import MAX_DRAFT_LENGTH, whole
from exsa_lab.costs.model import CostModel
from exsa_lab.costs.recorded import COST_FACTORS, RECORDED_MACHINES
from exsa_lab.engine.engine import Engine
from exsa_lab.errors import ConfigError, EngineError
from exsa_lab.events import State
from exsa_lab.loading import get_engine
from exsa_lab.scatter import busy_steps, of_costs
from exsa_lab.trace.measured import MeasuredSpeed, PlainSpeed, acceptance_of_tested, measured_speeds, plain_speed
from exsa_lab.trace.trace import Trace
from exsa_lab.trace.what_if import WhatIf, draft_start, own_draft_cost
from exsa_lab.widgets.explore_static import static_html, static_text
from exsa_lab.widgets.live import LiveWidget
from exsa_lab.widgets.rows import visible
from exsa_lab.widgets.scripts import read_script, read_styles

MAX_SEQUENCES = 16
THIS_MACHINE = "this machine"
_USUAL_ACCEPTANCE = 0.6
"""Of the default pair on chat, where no run was recorded."""


class Explorer(LiveWidget):
    """Sliders for acceptance, draft length, draft cost, cost curve and batch size; the speed-up that follows.

    The cost curves are those of this machine, if an engine is loaded, and of machines that were measured. Points are
    the engine's finished runs, or those given as ``runs``.

    Example::

        view = Explorer(acceptance=0.7)
        view                        # in a cell: drag, and read
        view.speed_up(4)            # what it shows for k = 4
    """

    _esm = read_script("explore.js")
    _css = read_styles("slider.css", "explore.css")

    machines = traitlets.List().tag(sync=True)
    """``name``, ``note``, and milliseconds: ``target`` and ``draft`` by tokens, ``per_sequence``; and ``draft_start``,
    see `exsa_lab.trace.what_if.draft_start`."""
    points = traitlets.List().tag(sync=True)
    """What was measured: the fields of `exsa_lab.trace.MeasuredSpeed`."""
    compared_with = traitlets.Unicode().tag(sync=True)
    """The plain speed behind the points, in words; empty where there are none."""

    machine = traitlets.Unicode().tag(sync=True)
    acceptance = traitlets.Float(_USUAL_ACCEPTANCE, min=0.0, max=1.0).tag(sync=True)
    draft_length = traitlets.Int(4, min=0, max=MAX_DRAFT_LENGTH).tag(sync=True)
    draft_cost = traitlets.Float(0.0, min=0.0).tag(sync=True)
    """One decode of the draft, in decodes of one token of the target."""
    sequences = traitlets.Int(1, min=1, max=MAX_SEQUENCES).tag(sync=True)

    def __init__(
        self,
        engine: Engine | None = None,
        *,
        runs: Iterable[Any] | None = None,
        machine: str | None = None,
        acceptance: float | None = None,
        draft_length: int | None = None,
        sequences: int = 1,
    ) -> None:
        engine = engine or _loaded()
        costs = engine.costs if engine is not None else None
        traces = _traces(_finished(engine) if runs is None else runs)
        self._costs = _all_costs(costs, _describe(engine))
        chosen = _named(self._costs, machine)
        plain = plain_speed(traces, costs.step_seconds(1)) if costs is not None else None
        measured = measured_speeds(traces, plain) if plain is not None else []
        seen = acceptance_of_tested(traces)
        usual = _USUAL_ACCEPTANCE if seen is None else seen
        values: dict[str, Any] = {
            "machines": [_as_page_data(name, note, costs) for name, (note, costs) in self._costs.items()],
            "points": [asdict(point) for point in measured],
            "compared_with": _in_words(plain, traces) if plain is not None and measured else "",
            "machine": chosen,
            "draft_cost": own_draft_cost(self._costs[chosen][1]),
            "acceptance": usual if acceptance is None else _share("acceptance", acceptance),
            "sequences": whole("sequences", sequences, 1, MAX_SEQUENCES),
        }
        super().__init__(**values)
        best = self._what_if(0).best_length
        self.draft_length = (best or 4) if draft_length is None else _length(draft_length)
        self.observe(self._take_own_draft, "machine")
        self.observe(lambda _: self.publish(), ["machine", "acceptance", "draft_length", "draft_cost", "sequences"])

    def speed_up(self, draft_length: int | None = None) -> float:
        """Return the speed against plain decoding that the knobs give, for the draft length shown or another one."""
        return self._what_if(self.draft_length if draft_length is None else _length(draft_length)).speed_up

    @property
    def best_length(self) -> int:
        """The draft length with the largest speed-up where the knobs stand; 0 where none pays."""
        return self._what_if(0).best_length

    def static(self) -> tuple[str, str]:
        """Return the curve as a picture with its numbers, as HTML and as text."""
        points = self.measured if self.machine == THIS_MACHINE and self.sequences == 1 else []
        name = self.machine if self.machine in self._costs else next(iter(self._costs))
        views = (name, self._what_if(self.draft_length), points, self.compared_with if points else "")
        return static_html(*views), static_text(*views)

    @property
    def measured(self) -> list[MeasuredSpeed]:
        """What the recorded runs gained."""
        return [MeasuredSpeed(**point) for point in self.points]

    def _take_own_draft(self, _change: object) -> None:
        """Another machine has another draft cost; the page does the same."""
        if self.machine in self._costs:
            self.draft_cost = own_draft_cost(self._costs[self.machine][1])

    def _what_if(self, draft_length: int) -> WhatIf:
        # The page is not trusted: it may name any machine.
        costs = self._costs[self.machine if self.machine in self._costs else next(iter(self._costs))][1]
        return WhatIf(costs, self.acceptance, draft_length, self.draft_cost, self.sequences)


def explore(
    engine: Engine | None = None,
    *,
    runs: Iterable[Any] | None = None,
    machine: str | None = None,
    acceptance: float | None = None,
    draft_length: int | None = None,
    sequences: int = 1,
) -> Explorer:
    """Return the what-if explorer: what drafting would gain if acceptance, lengths or costs were others.

    ``engine`` is the one whose costs are "this machine", by default the kernel's, if there is one; ``runs`` are the
    generations or traces shown as points, by default the engine's own. ``machine`` is one of `Explorer.machines`; the
    other knobs begin at what the runs had. A point is the median of the runs of one setting; its speed-up is against
    the median of the runs that drafted nothing or, where there is none, against the calibrated cost of a step. Raises
    ConfigError for an unknown machine or a value out of range.

    Example: ``xl.explore(machine="H100, target x10", acceptance=0.7)``.
    """
    return Explorer(
        engine, runs=runs, machine=machine, acceptance=acceptance, draft_length=draft_length, sequences=sequences
    )


def _loaded() -> Engine | None:
    try:
        return get_engine()
    except EngineError:
        return None


def _finished(engine: Engine | None) -> list[Any]:
    return [] if engine is None else [gen for gen in engine.generations if gen.state is State.FINISHED]


def _describe(engine: Engine | None) -> str:
    if engine is None:
        return ""
    names = engine.model_names
    draft = f"with the draft {names['draft']}" if names["draft"] else "no draft model"
    text = f"{names['target']}, {draft}; measured at load and corrected since"
    return visible(text if engine.costs is None else f"{text}. {of_costs(engine.costs.scatter)}")


def _all_costs(own: CostModel | None, description: str) -> dict[str, tuple[str, CostModel]]:
    """Costs and a note by the machine's name, this one first."""
    found = {} if own is None else {THIS_MACHINE: (description, own)}
    for recorded in RECORDED_MACHINES:
        for factor in COST_FACTORS:
            name = recorded.name if factor == 1 else f"{recorded.name}, target x{factor}"
            found[name] = ("the default pair, measured", recorded.costs(factor))
            if factor > 1:
                found[name] = (f"the default pair's costs, the target's multiplied by {factor}", found[name][1])
    return found


def _as_page_data(name: str, note: str, costs: CostModel) -> dict[str, Any]:
    most = MAX_SEQUENCES * (1 + MAX_DRAFT_LENGTH)
    draft = costs.draft
    return {
        "name": name,
        "note": note,
        "target": [_ms(costs.step_seconds(n)) for n in range(most + 1)],
        "draft": None if draft is None else [_ms(costs.draft_seconds(n)) for n in range(MAX_SEQUENCES + 1)],
        "draft_start": float(f"{draft_start(costs):.6g}"),
        "per_sequence": _ms(costs.seconds_per_sequence * costs.slow_down),
    }


def _ms(seconds: float) -> float:
    return float(f"{1000 * seconds:.6g}")


def _named(costs: dict[str, tuple[str, CostModel]], name: str | None) -> str:
    if name is None:
        return next(iter(costs))
    if name not in costs:
        hint = "Load an engine first." if name == THIS_MACHINE else f"Choose one of: {', '.join(costs)}."
        raise ConfigError(f"there is no machine {visible(str(name))!r}.", hint=hint)
    return name


def _in_words(plain: PlainSpeed, traces: Iterable[Trace]) -> str:
    speed = ", ".join([f"{plain.tokens_per_second:.1f} tok/s", *busy_steps(trace.rounds for trace in traces)])
    if not plain.runs:
        return f"the calibrated cost of a plain step ({speed}), for no plain run was recorded"
    what = "the plain run" if plain.runs == 1 else f"the median of {plain.runs} plain runs"
    return f"{what} ({speed})"


def _traces(runs: Iterable[Any]) -> list[Trace]:
    traces = []
    for run in [runs] if isinstance(runs, Trace) or hasattr(runs, "trace") else runs:
        trace = run if isinstance(run, Trace) else getattr(run, "trace", None)
        if not isinstance(trace, Trace):
            raise ConfigError("this is neither a trace nor a generation.", hint="Give runs=[gen, ...].")
        traces.append(trace)
    return traces


def _length(value: Any) -> int:
    return whole("draft_length", value, 0, MAX_DRAFT_LENGTH)


def _share(name: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1:
        raise ConfigError(f"{name} is {value!r}.", hint="It must be between 0 and 1.")
    return float(value)
