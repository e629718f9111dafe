"""The command line, as a user calls it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from exsa_lab import cli


def _exsa_lab(*arguments: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "exsa_lab.cli", *arguments], capture_output=True, text=True, cwd=cwd, timeout=300
    )


def test_help_names_every_command() -> None:
    result = _exsa_lab("--help")

    assert result.returncode == 0
    for command in ("lab", "demo", "serve", "bench", "doctor"):
        assert f"\n    {command} " in result.stdout


@pytest.mark.parametrize("arguments", [(), ("nonsense",), ("demo", "--nonsense"), ("doctor", "extra")])
def test_misuse_is_a_usage_message(arguments: tuple[str, ...]) -> None:
    result = _exsa_lab(*arguments)

    assert result.returncode == 2
    assert result.stderr.startswith("usage: exsa-lab")
    assert "Traceback" not in result.stderr


def test_error_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["demo", "--notebook", "nowhere.ipynb"]) == 1
    assert capsys.readouterr().err == "exsa-lab: there is no notebook 'nowhere.ipynb'.\n"


def test_the_package_runs_as_a_module() -> None:
    command = [sys.executable, "-m", "exsa_lab", "--version"]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout.startswith("exsa-lab ")


def test_doctor_reports_without_an_engine() -> None:
    result = _exsa_lab("doctor")

    assert result.returncode == 0, result.stderr
    assert "Machine" in result.stdout
    assert "llama-cpp-python" in result.stdout


def test_bench_forwards_its_arguments() -> None:
    result = _exsa_lab("bench", "--help")

    assert result.returncode == 0, result.stderr
    assert "decode" in result.stdout
    assert result.stdout.startswith("usage: exsa-lab bench ")
