"""The grid the plan is measured against."""

from __future__ import annotations

import argparse
from typing import Any

import pytest

from exsa_lab.bench import plan
from exsa_lab.bench.measure import Middle
from exsa_lab.bench.setting import Options
from exsa_lab.config import EngineConfig


def test_the_grid_has_the_plan_first_and_every_setting_once() -> None:
    config = EngineConfig(n_threads=2, n_ctx=2048, n_ubatch=63)
    found = plan.grid(config)
    assert next(iter(found.items())) == (plan.PLAN, config)
    assert len(set(found.values())) == len(found) == 2 + 2 * 4 * 2
    assert {setting.n_threads for setting in found.values()} == {1, 2, 4}
    assert {setting.flash_attention for setting in found.values()} == {True, False}


def test_settings_far_from_the_fastest_are_measured_once(monkeypatch: pytest.MonkeyPatch) -> None:
    speeds = {plan.PLAN: 10.0, "near": 80.0, "fastest": 100.0, "far": 60.0}
    monkeypatch.setattr(plan, "_tokens_per_second", lambda context, _measure, _round: speeds[context])
    options = Options(model="m", draft="none", repeats=6, given=argparse.Namespace())
    contexts: Any = {name: name for name in speeds}
    found = plan._survey(contexts, "prompt", options)
    assert {name: len(values) for name, values in found.items()} == {plan.PLAN: 3, "near": 3, "fastest": 3, "far": 1}


@pytest.mark.real
def test_a_quick_run_measures_every_contender() -> None:
    options = Options(
        model="smollm2-135m-draft",
        draft="none",
        repeats=1,
        quick=True,
        given=argparse.Namespace(),
        weights=("as-shipped",),
    )
    report = plan.run(options)
    rows = report.tables[0].rows
    assert rows[0][0] == plan.PLAN
    assert all(isinstance(number, Middle) and number.low > 0 for row in rows for number in row[1:])
    assert [check.wanted for check in report.checks] == [0.95, 0.95, 0.95, 1.0]
