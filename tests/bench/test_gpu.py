"""What only a GPU would take, on a build for CPUs that is told of one: its layers then simply stay on the CPU."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from exsa_lab.bench import main
from exsa_lab.bench.batching import _promise_on_gpu
from exsa_lab.bench.cli import GPU_SUITE, _parser
from exsa_lab.bench.report import Report
from exsa_lab.bench.setting import Options, Subject, subjects
from exsa_lab.config import EngineConfig
from exsa_lab.engine.engine import Engine
from exsa_lab.hardware import GPU, Hardware
from exsa_lab.loading import machine
from exsa_lab.runtime.context import LlamaContext

GIB = 1 << 30


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the planner and the benchmarks see a large GPU."""

    def told() -> Hardware:
        return replace(machine(), gpus=(GPU("a card", 80 * GIB, 79 * GIB, "CUDA"),), can_offload=True)

    monkeypatch.setattr("exsa_lab.bench.setting.machine", told)


def run(tmp_path: Path, *argv: str) -> dict[str, Any]:
    out, text = tmp_path / "out.json", tmp_path / "out.txt"
    assert main([*argv, "--device", "gpu", "--quick", "--json", str(out), "--text", str(text)]) == 0
    (report,) = json.loads(out.read_text())
    assert text.read_text().startswith(f"exsa_lab bench {argv[0]}\n")
    return dict(report)


def test_without_a_gpu_there_is_nothing_to_measure(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    none = replace(machine(), gpus=(), can_offload=False)
    monkeypatch.setattr("exsa_lab.bench.setting.machine", lambda: none)
    assert main(["prefix", "--device", "gpu", "--quick"]) == 2
    assert "no layer can run on a GPU here" in capsys.readouterr().err


def test_the_suite_knows_its_benchmarks_and_their_arguments(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: dict[str, Options] = {}
    for name in GPU_SUITE:

        def keep(options: Options, name: str = name) -> Report:
            asked[name] = options
            return Report(name, machine="here")

        monkeypatch.setattr(f"exsa_lab.bench.{name}.run", keep)
    monkeypatch.setattr("exsa_lab.bench.cli.subjects", lambda options: [])
    assert main(["all", "--device", "gpu"]) == 0
    assert list(asked) == list(GPU_SUITE)
    assert asked["speculation"].given.only == "single"
    assert {options.weights for options in asked.values()} == {("as-shipped",)}


@pytest.mark.usefixtures("gpu")
def test_every_contender_gets_the_plan_for_the_gpu() -> None:
    (subject,) = subjects(Options(device="gpu"))
    assert (subject.config.n_gpu_layers, subject.config.draft_gpu_layers) == (-1, -1)
    assert (subject.config.n_threads, subject.config.n_ubatch) == (min(2, machine().usable_threads), 1024)


@pytest.mark.real
@pytest.mark.usefixtures("gpu")
def test_small_batches_are_padded_where_layers_are_on_a_gpu_and_only_there() -> None:
    (subject,) = subjects(Options(device="gpu"), n_ctx=512, n_seq_max=2)
    with subject.open_engine() as engine:
        assert _context(engine).steps_until_usual > 0
        padded = engine.generate("Count from one to ten.", max_tokens=12, draft_length=3, drafter="model").text
    with Subject(subject.name, subject.path, subject.draft, replace(subject.config, n_gpu_layers=0)).open_engine() as e:
        assert _context(e).steps_until_usual == 0
        assert e.generate("Count from one to ten.", max_tokens=12, draft_length=0).text == padded


def _context(engine: Engine) -> LlamaContext:
    context: Any = engine.call(lambda loop: loop.context)
    assert isinstance(context, LlamaContext)
    return context


@pytest.mark.real
@pytest.mark.usefixtures("gpu")
def test_decode_and_speculation(tmp_path: Path) -> None:
    (table,) = run(tmp_path, "decode", "--tokens", "4")["tables"]
    assert all(row["tok/s"]["median"] > 0 for row in table["rows"])
    report = run(tmp_path, "speculation", "--tokens", "4", "--workloads", "chat", "--only", "single", "--no-peers",
                 "--no-grid", "--weights", "as-shipped")  # fmt: skip
    assert [row["setting"] for row in report["tables"][0]["rows"]] == ["plain", "auto"]


def test_promises_of_a_gpu() -> None:
    report = Report("batching", machine="here")
    speeds = {f"exsa_lab, {n} at once": [100.0 * gain] for n, gain in ((1, 1), (16, 4.5), (64, 7.0))}
    _promise_on_gpu(Subject("model", Path(), None, EngineConfig()), (1, 16, 64), speeds, report)
    assert [(check.value, check.is_met) for check in report.checks] == [(4.5, True), (7.0, False)]


def test_arguments_of_the_suite_parse() -> None:
    for name, argv in GPU_SUITE.items():
        assert _parser([name]).parse_args([name, *argv, "--device", "gpu"]).device == "gpu"
