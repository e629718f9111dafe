"""The command line, as a user calls it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import nbformat
import pytest

from exsa_lab import cli, demo
from exsa_lab.errors import ExsaError


def _exsa_lab(*arguments: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "exsa_lab.cli", *arguments], capture_output=True, text=True, cwd=cwd, timeout=300
    )


def _notebook(path: Path, *sources: str) -> Path:
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source) for source in sources])
    nbformat.write(notebook, path)
    return path


def test_help_names_every_command() -> None:
    result = _exsa_lab("--help")

    assert result.returncode == 0
    for command in ("lab", "demo", "bench", "doctor"):
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


def test_demo_writes_a_page_that_needs_nothing_else(tmp_path: Path) -> None:
    display = "from IPython.display import display\ndisplay({!r}, raw=True)"
    widget = {
        "application/vnd.jupyter.widget-view+json": {"model_id": "1", "version_major": 2, "version_minor": 0},
        "text/html": "<b>the tokens</b>",
        "text/plain": "the tokens, plain",
    }
    notebook = _notebook(tmp_path / "01_small.ipynb", "print(6 * 7)", display.format(widget))
    before = notebook.read_bytes()

    result = _exsa_lab("demo", "--notebook", str(notebook), cwd=tmp_path)

    assert result.returncode == 0, result.stderr
    page = tmp_path / "small.html"
    assert result.stdout.splitlines()[-1] == f"Written: {page.resolve()}"
    html = page.read_text(encoding="utf-8")
    assert "<b>the tokens</b>" in html
    assert "<pre>42\n</pre>" in html
    assert "<script" not in html
    assert "<link" not in html
    assert notebook.read_bytes() == before


def test_demo_names_the_cell_error(tmp_path: Path) -> None:
    notebook = _notebook(tmp_path / "bad.ipynb", "raise ValueError('no such thing')")

    with pytest.raises(ExsaError, match=r"a cell of bad\.ipynb failed: ValueError: no such thing"):
        demo.write_html(notebook, tmp_path / "bad.html", say=lambda line: None)

    assert not (tmp_path / "bad.html").exists()


class TestLab:
    @pytest.fixture
    def started(self, monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
        """The arguments JupyterLab was started with; the browser tests start the real one."""
        import jupyterlab.labapp

        started: list[list[str]] = []
        monkeypatch.setattr(jupyterlab.labapp, "main", started.append)
        return started

    def test_opens_the_quickstart(self, tmp_path: Path, started: list[list[str]]) -> None:
        folder = tmp_path / "here"

        assert cli.main(["lab", "--folder", str(folder), "--no-browser", "--port", "8890"]) == 0

        [arguments] = started
        quickstart = folder / "01_quickstart.ipynb"
        assert str(quickstart) in arguments
        assert arguments[-3:] == ["--no-browser", "--port", "8890"]
        assert nbformat.read(quickstart, as_version=4).metadata.kernelspec.name == "python3"

    def test_root_is_allowed_and_told(
        self,
        tmp_path: Path,
        started: list[list[str]],
        monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        for user, allowed in ((0, True), (1000, False)):
            monkeypatch.setattr("os.geteuid", lambda user=user: user)
            cli.main(["lab", "--folder", str(tmp_path)])
            assert ("--allow-root" in started[-1]) is allowed
            assert ("--allow-root" in capsys.readouterr().out) is allowed
