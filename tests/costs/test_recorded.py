"""The machines offered for comparison are those that the draft policy is simulated on."""

from __future__ import annotations

import pytest

from exsa_lab.costs.recorded import COST_FACTORS, RECORDED_MACHINES
from tests.speculation.simulator import MACHINES

SIMULATED = {
    "2 CPU cores, Q4_1": "2 cores Q4_1",
    "2 CPU cores, Q8_0": "2 cores Q8_0",
    "16 CPU cores": "16 cores",
    "H100": "H100",
}


@pytest.mark.parametrize("machine", RECORDED_MACHINES, ids=lambda machine: machine.name)
def test_costs_are_those_measured(machine) -> None:  # type: ignore[no-untyped-def]
    simulated = MACHINES[SIMULATED[machine.name]]
    costs = machine.costs()
    for n, seconds in simulated.target.items():
        if n <= 64:
            assert costs.step_seconds(n) == pytest.approx(seconds, rel=0.01)
    for n, seconds in simulated.draft.items():
        if n <= 64:
            assert costs.draft_seconds(n) == pytest.approx(seconds, rel=0.02)


@pytest.mark.parametrize("factor", COST_FACTORS)
def test_a_cost_factor_leaves_the_draft_alone(factor: int) -> None:
    machine = RECORDED_MACHINES[-1]
    costs, own = machine.costs(factor), machine.costs()
    assert costs.step_seconds(8, 4) == pytest.approx(factor * own.step_seconds(8, 4))
    assert costs.draft_seconds(1) == own.draft_seconds(1)
