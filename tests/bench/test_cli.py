from __future__ import annotations

import argparse
import importlib
import json
from pathlib import Path
from typing import Any

import pytest

from exsa_lab.bench import main
from exsa_lab.bench.cli import BENCHMARKS
from exsa_lab.bench.report import Check, Report
from exsa_lab.bench.setting import Options, subjects
from exsa_lab.bench.workloads import chosen_workloads
from exsa_lab.errors import ConfigError


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> list[Options]:
    """Replace the prefix benchmark by one that only keeps what it was asked."""
    asked: list[Options] = []

    def run(options: Options) -> Report:
        asked.append(options)
        return Report("prefix", checks=[Check("sooner", 9.0 if options.repeats != 3 else 1.0, 8.0)], machine="here")

    monkeypatch.setattr("exsa_lab.bench.prefix.run", run)
    return asked


def test_every_benchmark_has_a_module_that_runs() -> None:
    for name in BENCHMARKS:
        assert callable(importlib.import_module(f"exsa_lab.bench.{name}").run)


def test_options_reach_the_benchmark(fake: list[Options], capsys: pytest.CaptureFixture[str]) -> None:
    assert (
        main(["prefix", "--model", "x.gguf", "--weights", "Q8_0,F16", "--threads", "3", "--prefix-tokens", "70"]) == 0
    )
    (options,) = fake
    assert (options.model, options.weights, options.n_threads, options.repeats) == ("x.gguf", ("Q8_0", "F16"), 3, 5)
    assert options.given.prefix_tokens == 70
    assert "ok   sooner: 9 (promised >= 8)" in capsys.readouterr().out


def test_a_broken_promise_is_the_exit_status_but_not_of_a_quick_run(
    fake: list[Options], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["prefix", "--repeats", "3"]) == 1
    assert "MISS" in capsys.readouterr().out
    assert main(["prefix", "--repeats", "3", "--quick"]) == 0
    assert "MISS" not in capsys.readouterr().out


def test_json_is_written(fake: list[Options], tmp_path: Path) -> None:
    main(["prefix", "--json", str(tmp_path / "out.json")])
    assert json.loads((tmp_path / "out.json").read_text())[0]["benchmark"] == "prefix"


def test_our_errors_are_one_line(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def run(options: Options) -> Any:
        raise ConfigError("no such thing.", hint="Ask for another.")

    monkeypatch.setattr("exsa_lab.bench.prefix.run", run)
    assert main(["prefix"]) == 2
    assert capsys.readouterr().err == "no such thing. Ask for another.\n"


@pytest.mark.parametrize("argv", [[], ["nonsense"], ["prefix", "--repeats", "0"], ["batching", "--requests", "0"]])
def test_bad_arguments_are_refused(argv: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(argv)
    assert stopped.value.code == 2
    assert "usage" in capsys.readouterr().err


def test_an_unknown_weight_format_or_workload_gets_a_suggestion() -> None:
    with pytest.raises(ConfigError, match="Did you mean 'q8_0'"):
        subjects(Options(weights=("as-shipped", "q8_00")))
    with pytest.raises(ConfigError, match="Did you mean 'repeat'"):
        chosen_workloads(Options(given=argparse.Namespace(workloads="chat,repaet")))
