"""The table of Pythons: what is here, what is not, and what failed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import matrix
import pytest

HERE = f"{sys.version_info.major}.{sys.version_info.minor}"


def test_an_interpreter_is_taken_for_what_it_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shim = tmp_path / "bin" / f"python{HERE}"
    real = tmp_path / "pyenv" / "versions" / f"{HERE}.1" / "bin" / "python"
    for path, content in ((shim, "#!/bin/sh\necho no such version >&2; exit 127\n"), (real, None)):
        path.parent.mkdir(parents=True)
        path.symlink_to(sys.executable) if content is None else path.write_text(content)
    shim.chmod(0o755)
    monkeypatch.setenv("PATH", str(shim.parent))
    monkeypatch.setenv("PYENV_ROOT", str(tmp_path / "pyenv"))
    found = list(matrix.interpreters(HERE))
    assert found == [str(shim), str(real)]
    assert [matrix.version_of(path) for path in [*found, "no such file"]] == ["", HERE, ""]


def test_a_python_that_is_not_here_is_a_row_and_no_failure(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(matrix, "interpreters", lambda _python: iter(()))
    assert matrix.main(["--only", "3.12"]) == 0
    head, rule, *rows = capsys.readouterr().out.splitlines()
    assert [row.split("|")[1:3] for row in rows] == [[" 3.12 ", " not here "]]
    assert len({line.count("|") for line in (head, rule, *rows)}) == 1


@pytest.mark.parametrize(("returned", "cell"), [(0, "3 passed"), (1, "failed (1 failed, 2 passed; {log})")])
def test_what_failed_is_told_with_its_log(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, returned: int, cell: str
) -> None:
    def run(_command: list[str], *, stdout: object, **_options: object) -> SimpleNamespace:
        print("3 passed in 1s" if returned == 0 else "1 failed, 2 passed in 1s", file=stdout)  # type: ignore[call-overload]
        return SimpleNamespace(returncode=returned)

    monkeypatch.setattr(subprocess, "run", run)
    log = tmp_path / "tests.log"
    assert matrix.run_tests("python", [], log) == cell.format(log=log)
