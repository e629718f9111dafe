"""Kept costs are used while they hold; what a busy machine showed is told, and neither kept nor preferred."""

from __future__ import annotations

import random
from collections.abc import Callable
from types import SimpleNamespace

import pytest

from exsa_lab.config import EngineConfig
from exsa_lab.costs import measure
from exsa_lab.costs.cache import load_costs, save_costs
from exsa_lab.costs.measure import find_costs, still_hold
from exsa_lab.costs.model import CostCurve, CostModel, Kind
from exsa_lab.runtime.protocol import Context
from exsa_lab.runtime.scripted import ScriptedContext
from exsa_lab.testing import ScriptedModel
from tests.speculation.simulator import MACHINES

MACHINE = MACHINES["2 cores Q4_1"]
FACTS = {"target": "one", "n_threads": 2}


class Machine:
    """Contexts whose decodes move a clock, which measuring reads. ``delay()`` is the factor of each decode."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 0.0
        self.delay: Callable[[], float] = lambda: 1.0
        self.decodes: list[tuple[Kind, int]] = []
        monkeypatch.setattr(measure, "time", SimpleNamespace(perf_counter=lambda: self.now))
        self.contexts: dict[Kind, Context] = {
            "target": self._context("target", CostCurve(MACHINE.target)),
            "draft": self._context("draft", CostCurve(MACHINE.draft)),
        }

    def _context(self, kind: Kind, curve: CostCurve) -> ScriptedContext:
        context = ScriptedContext(ScriptedModel("ab", lambda tokens: [0.5, 0.5]), EngineConfig(n_ctx=1024, n_seq_max=8))

        def compute(entries: list[tuple[int, int, int]]) -> None:
            self.decodes.append((kind, len(entries)))
            self.now += curve(len(entries)) * self.delay()

        context.before_decode = compute
        return context

    def costs(self, *, anew: bool = False) -> tuple[CostModel, str]:
        self.decodes.clear()
        return find_costs(self.contexts, FACTS, anew=anew)

    @property
    def has_measured(self) -> bool:
        """Whether it went through a whole calibration, not only a check."""
        return ("target", 16) in self.decodes


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch, tmp_path: object) -> Machine:
    monkeypatch.setattr(measure, "default_folder", lambda: tmp_path)
    return Machine(monkeypatch)


def _kept() -> CostModel | None:
    return load_costs(measure.default_folder(), FACTS).costs


def _keep(factor: float) -> CostModel:
    costs = CostModel.from_measurements(
        {n: factor * s for n, s in MACHINE.target.items()}, {n: factor * s for n, s in MACHINE.draft.items()}
    )
    save_costs(measure.default_folder(), FACTS, costs)
    return costs


def _between(low: float, high: float) -> Callable[[], float]:
    generator = random.Random(1)
    return lambda: generator.uniform(low, high)


def test_what_was_measured_is_kept_and_found_again_by_a_short_check(machine: Machine) -> None:
    costs, note = machine.costs()
    assert machine.has_measured
    assert note == ""
    assert costs.scatter == pytest.approx(0.0)
    before = machine.now
    again, note = machine.costs()
    assert note == ""
    assert not machine.has_measured
    assert machine.now - before < 0.2
    assert again.target.points == costs.target.points
    for context in machine.contexts.values():
        assert isinstance(context, ScriptedContext)
        assert context.num_cells_used == 0


@pytest.mark.parametrize("factor", [2.5, 0.5, 1.3])
def test_kept_costs_that_are_off_either_way_are_measured_anew(machine: Machine, factor: float) -> None:
    _keep(factor)
    costs, note = machine.costs()
    assert machine.has_measured
    assert note == ""
    assert costs.step_seconds(1) == pytest.approx(MACHINE.target[1])
    kept = _kept()
    assert kept is not None
    assert kept.target.points == costs.target.points


@pytest.mark.parametrize("factor", [1.15, 0.87])
def test_kept_costs_that_are_nearly_right_stay(machine: Machine, factor: float) -> None:
    costs = _keep(factor)
    assert machine.costs()[0].target.points == costs.target.points
    assert not machine.has_measured


def test_a_larger_step_that_is_wrong_is_found_too(machine: Machine) -> None:
    points = {**MACHINE.target, 8: 2 * MACHINE.target[8]}
    assert not still_hold(CostModel.from_measurements(points, MACHINE.draft), machine.contexts)
    assert not still_hold(CostModel.from_measurements(MACHINE.target, {1: 3 * MACHINE.draft[1]}), machine.contexts)


def test_a_check_that_is_disturbed_now_and_then_is_passed(machine: Machine) -> None:
    _keep(1.0)
    turns = iter(range(10_000))
    machine.delay = lambda: 1.0 if next(turns) % 2 else 5.0
    machine.costs()
    assert not machine.has_measured


def test_what_a_busy_machine_shows_is_told_and_not_kept(machine: Machine) -> None:
    machine.delay = _between(1.0, 2.5)
    costs, note = machine.costs()
    assert costs.scatter > 0.1
    assert note.startswith("Machine busy: repeats of measured steps differ by ")
    assert "the next load measures again" in note
    assert _kept() is None
    machine.delay = lambda: 1.0
    costs, note = machine.costs()
    assert note == ""
    assert costs.scatter == pytest.approx(0.0)
    assert _kept() is not None


def test_on_a_busy_machine_kept_costs_that_are_lower_are_used_and_those_that_are_higher_are_not(
    machine: Machine,
) -> None:
    kept = _keep(1.0)
    machine.delay = _between(2.0, 6.0)
    costs, note = machine.costs()
    assert "Machine busy" in note
    assert costs.target.points == kept.target.points
    assert costs.scatter > 0.1
    kept = _keep(20.0)
    costs, _ = machine.costs()
    assert costs.target(1) < 0.5 * kept.target(1)
    found = _kept()
    assert found is not None
    assert found.target.points == kept.target.points, "nothing is written while the machine is busy"


def test_measuring_anew_asks_for_no_check(machine: Machine) -> None:
    _keep(1.0)
    machine.costs(anew=True)
    assert machine.has_measured
