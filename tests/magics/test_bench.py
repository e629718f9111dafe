"""Benchmarks run in a process of their own; its output is passed on and its end is told."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest

from exsa_lab.bench.cli import BENCHMARKS
from exsa_lab.errors import ConfigError, ExsaError
from exsa_lab.magics import bench
from exsa_lab.magics.interrupts import CellInterrupted

NAME = next(iter(BENCHMARKS))


@pytest.fixture
def commands(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Replaces the benchmark by the Python code that is appended here first; then come the commands asked for."""
    found: list[Any] = []
    real = subprocess.Popen

    def popen(command: list[str], **options: Any) -> Any:
        code = found.pop(0)
        found.append(command)
        return real([sys.executable, "-c", code], **options)

    monkeypatch.setattr(bench.subprocess, "Popen", popen)
    return found


def test_every_benchmark_is_listed_with_what_it_measures() -> None:
    lines = bench.listing().splitlines()
    assert [line.split()[0] for line in lines] == list(BENCHMARKS)
    assert all(len(line.split()) > 2 for line in lines)


def test_output_is_passed_on(commands: list[Any], capsys: pytest.CaptureFixture[str]) -> None:
    commands.append("import sys; print('one'); print('two', file=sys.stderr)")
    bench.run([NAME, "--quick"])
    assert commands == [[sys.executable, "-u", "-m", "exsa_lab.bench", NAME, "--quick"]]
    assert set(capsys.readouterr().out.split()) == {"one", "two"}


def test_a_promise_not_held_is_no_error(commands: list[Any]) -> None:
    commands.append("raise SystemExit(1)")
    bench.run([NAME])


def test_a_failure_is_told_with_its_last_line(commands: list[Any]) -> None:
    commands.append("import sys; print('no model here'); sys.exit(2)")
    with pytest.raises(ExsaError, match="ended with status 2: no model here"):
        bench.run([NAME])


def test_an_unknown_benchmark_starts_nothing(commands: list[Any]) -> None:
    with pytest.raises(ConfigError, match=rf"Did you mean '?{NAME}"):
        bench.run([NAME + "e"])
    assert commands == []


def test_an_interrupt_stops_it(commands: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    commands.append("import time; print('begun', flush=True); time.sleep(600)")

    def interrupt(*_args: object, **_options: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("builtins.print", interrupt)
    with pytest.raises(CellInterrupted, match="stopped"):
        bench.run([NAME])
