from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks import main
from benchmarks.suite import SUITE
from exsa_lab.bench import cli

ROOT = Path(__file__).parent.parent.parent


def test_every_benchmark_has_a_module_that_runs_and_is_in_one_suite_only() -> None:
    assert not SUITE.benchmarks.keys() & cli.BENCHMARKS.keys()
    assert SUITE.on_gpu.keys() <= SUITE.benchmarks.keys()
    for name in SUITE.benchmarks:
        assert callable(SUITE.module(name).run)


def test_usage_names_the_command(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--help"])
    assert capsys.readouterr().out.startswith("usage: python -m benchmarks ")


def test_it_runs_from_the_clone() -> None:
    command = [sys.executable, "-m", "benchmarks", "nonsense"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "'rounding'" in done.stderr
