"""What only a GPU would take, on a build for CPUs that is told of one: its layers then simply stay on the CPU."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from benchmarks import main
from benchmarks.memory import free_bytes
from benchmarks.suite import SUITE
from exsa_lab.bench.cli import _parser
from exsa_lab.bench.report import Report
from exsa_lab.bench.setting import Options
from exsa_lab.hardware import GPU, Hardware
from exsa_lab.loading import machine

GIB = 1 << 30


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the planner and the benchmarks see a large GPU."""

    def told() -> Hardware:
        return replace(machine(), gpus=(GPU("a card", 80 * GIB, 79 * GIB, "CUDA"),), can_offload=True)

    for module in ("exsa_lab.bench.setting", "benchmarks.memory"):
        monkeypatch.setattr(f"{module}.machine", told)


def run(tmp_path: Path, *argv: str) -> dict[str, Any]:
    out = tmp_path / "out.json"
    assert main([*argv, "--device", "gpu", "--quick", "--json", str(out)]) == 0
    (report,) = json.loads(out.read_text())
    return dict(report)


def test_the_suite_knows_its_benchmarks_and_their_arguments(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: dict[str, Options] = {}
    for name, argv in SUITE.on_gpu.items():
        assert _parser([name], SUITE).parse_args([name, *argv, "--device", "gpu"]).device == "gpu"

        def keep(options: Options, name: str = name) -> Report:
            asked[name] = options
            return Report(name, machine="here")

        monkeypatch.setattr(f"benchmarks.{name}.run", keep)
    monkeypatch.setattr("exsa_lab.bench.cli.subjects", lambda options: [])
    assert main(["all", "--device", "gpu"]) == 0
    assert list(asked) == list(SUITE.on_gpu)
    assert {name: options.weights for name, options in asked.items() if len(options.weights) > 1} == {
        "rounding": ("as-shipped", "F16")
    }


@pytest.mark.real
@pytest.mark.usefixtures("gpu")
def test_memory(tmp_path: Path) -> None:
    (table,) = run(tmp_path, "memory")["tables"]
    assert [row["estimate"] is None for row in table["rows"]] == [True, False, False, False]
    assert free_bytes("gpu") == 79 * GIB


@pytest.mark.real
@pytest.mark.usefixtures("gpu")
def test_prefill(tmp_path: Path) -> None:
    (table,) = run(tmp_path, "prefill", "--prompt-tokens", "40")["tables"]
    assert [(row["micro-batch"], row["the plan"]) for row in table["rows"]] == [
        ("n_ubatch 512", ""),
        ("n_ubatch 1024", "yes"),
    ]
    assert all(row["tok/s"]["median"] > 0 for row in table["rows"])


@pytest.mark.real
@pytest.mark.usefixtures("gpu")
def test_rounding(tmp_path: Path) -> None:
    report = run(tmp_path, "rounding", "--tokens", "6", "--weights", "as-shipped")
    (table,) = report["tables"]
    assert [row["n"] for row in table["rows"]] == ["2", "4", "2, all padded to 8", "4, all padded to 8"]
    assert [row["equal bit for bit"] for row in table["rows"][2:]] == ["6 of 6", "6 of 6"]
    assert "padded to 8" in report["notes"][0]


@pytest.mark.real
@pytest.mark.usefixtures("gpu")
def test_assisted(tmp_path: Path) -> None:
    report = run(tmp_path, "assisted", "--tokens", "4")
    assert report["tables"] or "left out" in report["notes"][0]
