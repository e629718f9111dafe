"""The doctor's first words: how things are, and what to do next."""

from __future__ import annotations

from typing import Any

import pytest

from exsa_lab.config import EngineConfig
from exsa_lab.costs.model import CostModel
from exsa_lab.doctor import verdict
from exsa_lab.doctor.scorecard import Patient
from exsa_lab.doctor.verdict import NOTHING_TO_DO, verdict_section
from exsa_lab.engine.engine import Engine
from exsa_lab.hardware import GPU, Hardware
from exsa_lab.testing import scripted_engine
from tests.doctor.parts import hardware, model


def _patient(
    monkeypatch: pytest.MonkeyPatch, engine: Engine | None, machine: Hardware, config: EngineConfig | None = None
) -> None:
    monkeypatch.setattr(verdict, "patient_of", lambda _: Patient(engine, config or EngineConfig(), machine))
    monkeypatch.setattr(verdict, "unused_features", lambda *_: [])


def _with_costs(engine: Engine, scatter: float) -> Any:
    costs = CostModel.from_measurements({1: 0.010, 2: 0.022, 3: 0.024, 4: 0.025, 17: 0.060}, {1: 0.001})
    costs.scatter = scatter

    class Measured:
        """The engine, with costs that were measured."""

        def __getattr__(self, name: str) -> object:
            return costs if name == "costs" else getattr(engine, name)

    return Measured()


def test_where_nothing_is_loaded_loading_comes_next(monkeypatch: pytest.MonkeyPatch) -> None:
    _patient(monkeypatch, None, hardware())
    made = verdict_section(None)
    assert made.leads
    assert made.summary.startswith("llama.cpp runs here, on 4 CPU cores.")
    assert made.rows[0][0] == "next"
    assert made.rows[0][1].startswith("%exsa_load")


def test_an_engine_in_order_needs_nothing(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    _patient(monkeypatch, _with_costs(engine, 0.03), hardware())
    made = verdict_section(None)
    assert made.rows == (("next", NOTHING_TO_DO),)
    assert "A single step takes 10.0 ms now. Repeats of measured steps differ by 3 %." in made.summary
    assert "draft model" in made.summary


def test_a_busy_machine_is_said_and_what_to_do(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    _patient(monkeypatch, _with_costs(engine, 0.3), hardware())
    made = verdict_section(None)
    assert "Machine busy: repeats of measured steps differ by 30 %." in made.summary
    assert "--recalibrate" in made.rows[0][1]


def test_a_gpu_that_is_not_used_comes_before_all_else(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    gpu = GPU("NVIDIA T4", 1 << 34, 1 << 34, "CUDA")
    _patient(monkeypatch, _with_costs(engine, 0.3), hardware(gpu))
    first, second = verdict_section(None).rows
    assert "GGML_CUDA" in first[1]
    assert (first[0], second[0]) == ("next", "then")
    _patient(monkeypatch, engine, hardware(gpu, can_offload=True))
    assert "--n-gpu-layers -1" in verdict_section(None).rows[0][1]
    _patient(monkeypatch, engine, hardware(gpu, can_offload=True), EngineConfig(n_gpu_layers=-1))
    made = verdict_section(None)
    assert made.rows == (("next", NOTHING_TO_DO),)
    assert "on NVIDIA T4" in made.summary


def test_a_target_without_a_draft_is_told_of_one(monkeypatch: pytest.MonkeyPatch) -> None:
    with scripted_engine(model()) as alone:
        _patient(monkeypatch, alone, hardware())
        assert "--draft auto" in verdict_section(None).rows[0][1]


def test_a_closed_engine_is_not_called_loaded(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    engine.close()
    _patient(monkeypatch, engine, hardware())
    assert verdict_section(None).summary == "The engine with letters is closed."
