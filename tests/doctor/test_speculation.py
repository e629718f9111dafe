"""What the doctor says of speculation."""

from __future__ import annotations

from exsa_lab.costs.model import CostModel
from exsa_lab.doctor import report
from exsa_lab.doctor.speculation import _from_costs as from_costs
from exsa_lab.engine.engine import Engine
from tests.doctor.parts import section


def test_speculation_tells_what_the_costs_say() -> None:
    costs = CostModel.from_measurements({1: 0.010, 2: 0.022, 3: 0.024, 4: 0.025, 17: 0.060}, {1: 0.001})
    made = from_costs(costs)
    by_length = {row[0]: row for row in made.rows}
    assert by_length["1"][2] == "cannot win"
    assert by_length["3"][1] == "2.8"
    assert made.summary.startswith("On this machine")
    assert "10.0 ms" in made.summary


def test_speculation_without_measurements(engine: Engine) -> None:
    assert section(report(engine), "Speculation").summary == "Nothing was measured for this engine."
