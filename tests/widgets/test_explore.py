"""The what-if explorer: its page computes what Python computes, from what it was given once."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ipywidgets import Widget

import exsa_lab as xl
from exsa_lab import loading
from exsa_lab.costs.model import CostModel
from exsa_lab.engine.assembly import Models
from exsa_lab.engine.engine import Engine
from exsa_lab.errors import ConfigError
from exsa_lab.testing import ScriptedModel, markov
from exsa_lab.trace.what_if import WhatIf
from exsa_lab.widgets.explore import MAX_SEQUENCES, THIS_MACHINE, Explorer, explore
from exsa_lab.widgets.scripts import WIDGET_VIEW

VECTORS = Path(__file__).with_name("explore_vectors.json")
SETTINGS = [
    (acceptance, k, cost, sequences)
    for acceptance in (0.0, 0.37, 0.8, 1.0)
    for k in (0, 1, 4, 16)
    for cost in (None, 0.0, 0.4)
    for sequences in (1, 4, 16)
]
MACHINES = ("2 CPU cores, Q4_1", "16 CPU cores, target x4", "H100, target x10")


@pytest.fixture(autouse=True)
def _close() -> Iterator[None]:
    yield
    loading.unload()
    Widget.close_all()


@pytest.fixture
def engine() -> Engine:
    right, wrong = markov(12, 1), markov(12, 2)
    pieces = [chr(97 + i) for i in range(12)]
    target = ScriptedModel(pieces, right)
    draft = ScriptedModel(pieces, lambda tokens: 0.6 * np.asarray(right(tokens)) + 0.4 * np.asarray(wrong(tokens)))
    costs = CostModel.from_measurements({1: 0.010, 4: 0.012, 16: 0.030, 64: 0.1}, {1: 0.001, 16: 0.004})
    return loading.use(Engine(lambda _: Models(target, draft, costs=costs), xl.EngineConfig(n_ctx=2048)))


def made_vectors() -> dict[str, Any]:
    """What the page computes from, and what it must find."""
    view = Explorer()
    machines = [machine for machine in view.machines if machine["name"] in MACHINES]
    cases = []
    for machine in machines:
        for acceptance, k, cost, sequences in SETTINGS:
            setting = WhatIf(view._costs[machine["name"]][1], acceptance, k, cost, sequences)
            found = (setting.tokens_per_round, setting.round_cost, setting.speed_up, setting.break_even)
            values = [None if value is None else round(value, 6) for value in found]
            cases.append([machine["name"], acceptance, k, cost, sequences, *values, setting.best_length])
    return {"machines": machines, "cases": cases}


def test_the_vectors_of_the_page_are_those_of_python() -> None:
    stored = json.loads(VECTORS.read_text())
    made = made_vectors()
    assert stored["machines"] == made["machines"]
    assert len(stored["cases"]) == len(made["cases"])
    for case, expected in zip(stored["cases"], made["cases"], strict=True):
        assert case[:5] == expected[:5]
        assert case[5:] == [None if value is None else pytest.approx(value, rel=1e-4) for value in expected[5:]]


def test_without_an_engine_there_are_the_recorded_machines() -> None:
    view = xl.explore()
    assert len(view.machines) == 12
    assert view.points == []
    most = MAX_SEQUENCES * 17
    assert all(len(machine["target"]) == most + 1 for machine in view.machines)
    assert len(json.dumps(view.machines)) < 60_000


def test_this_machine_comes_first_with_the_engines_costs(engine: Engine) -> None:
    view = explore()
    assert view.machine == THIS_MACHINE == view.machines[0]["name"]
    assert view.draft_cost == pytest.approx(0.1)
    costs = engine.costs
    assert costs is not None
    assert view.speed_up(3) == pytest.approx(WhatIf(costs, view.acceptance, 3).speed_up)
    assert view.draft_length == view.best_length


def test_runs_of_the_engine_are_points_and_set_the_acceptance(engine: Engine) -> None:
    options: dict[str, Any] = {"max_tokens": 40, "chat": False}
    engine.generate("abcab", draft_length=0, **options)
    gen = engine.generate("abcab", draft_length=4, drafter="model", **options)
    view = explore()
    assert [(point["name"], point["runs"]) for point in view.points] == [("k = 4", 1)]
    assert "the plain run" in view.compared_with
    rounds = [event for event in gen.trace.rounds if event.k]
    tested = sum(event.accepted + (event.accepted < event.k) for event in rounds)
    assert view.acceptance == pytest.approx(sum(event.accepted for event in rounds) / tested)
    assert explore(runs=[]).points == []
    assert [point["name"] for point in explore(runs=gen).points] == ["k = 4"]
    text = view.static()[1]
    assert "k = 4 x" in text
    assert "1 run" in text
    view.machine = "H100"
    assert "Measured against" not in view.static()[1]


def test_how_sure_the_costs_of_this_machine_are_is_said(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    costs = engine.costs
    assert costs is not None
    costs.scatter = 0.04
    monkeypatch.setattr(Engine, "costs", costs)
    view = Explorer(engine)
    assert view.machines[0]["note"].endswith("Repeats of measured steps differ by 4 %.")
    assert "Repeats of measured steps differ by 4 %." in view.static()[1]
    view.machine = "H100"
    assert "Repeats" not in view.static()[1]


def test_another_machine_brings_its_own_draft_cost() -> None:
    view = explore(machine="H100")
    assert view.draft_cost == pytest.approx(0.3 / 1.16, rel=0.01)
    view.machine = "H100, target x10"
    assert view.draft_cost == pytest.approx(0.03 / 1.16, rel=0.01)
    view.machine = "no such machine"  # a page may say anything
    assert "x" in view.static()[1]


def test_static_view_is_script_free_and_says_what_the_picture_shows() -> None:
    view = explore(machine="H100, target x10", acceptance=0.7, draft_length=5)
    html, text = view.static()
    assert set(re.findall(r"<(\w+)", html)) <= {
        "div",
        "img",
        "details",
        "summary",
        "table",
        "thead",
        "tbody",
        "tr",
        "th",
        "td",
    }
    assert f"the best is k = {view.best_length} with x{view.speed_up(view.best_length):.2f}" in text
    assert f"speed-up x{view.speed_up():.2f}" in text
    assert text.count("ms") >= 17
    bundle, _ = view._repr_mimebundle_()
    assert WIDGET_VIEW not in bundle


def test_a_static_view_says_when_nothing_pays() -> None:
    text = explore(machine="2 CPU cores, Q4_1", acceptance=0.3).static()[1]
    assert "no draft length pays" in text


@pytest.mark.parametrize(
    "wrong",
    [
        {"machine": "abacus"},
        {"machine": THIS_MACHINE},
        {"acceptance": 1.5},
        {"acceptance": "much"},
        {"draft_length": 17},
        {"sequences": 0},
        {"runs": ["text"]},
    ],
)
def test_wrong_knobs_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        explore(**wrong)
