"""What a cell's output holds: in a real kernel, and in a plain terminal."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient

from exsa_lab.errors import ConfigError
from exsa_lab.widgets.display import NoView, show
from exsa_lab.widgets.text_view import TerminalView
from tests.widgets.fake import PROSE, FakeGeneration, play, speculative_rounds, split_tokens

SETUP = """
import time
from exsa_lab.widgets import show
from tests.widgets.fake import *
def run(view, pause_s, batches=speculative_rounds(split_tokens(PROSE))):
    gen = FakeGeneration()
    display = show(gen, view)
    play(gen, batches, pause_s)
    return display
"""
HOSTILE = r"run('text', 0, [[token(0, '\x1b[31m<b>\u202e')], [StateEvent(State.FINISHED, 'stop')]]).wait(60)"


@pytest.fixture(scope="module")
def outputs(pytestconfig: pytest.Config) -> list[Any]:
    """Outputs of one executed notebook: blocking strip, background strip, the cell after it, text, hostile text."""
    sources = [
        SETUP,
        "assert run('tokens', 0.005).wait(60)",
        "background = run('tokens', 0.02)",
        "assert background.wait(60); print('later cell')",
        "assert run('text', 0.005).wait(60)",
        f"assert {HOSTILE}",
    ]
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source) for source in sources])
    NotebookClient(notebook, timeout=240, resources={"metadata": {"path": str(pytestconfig.rootpath)}}).execute()
    return [cell.outputs for cell in notebook.cells]


@pytest.mark.parametrize("cell", [1, 2], ids=["blocking", "background"])
def test_the_saved_output_needs_no_kernel(outputs: list[Any], cell: int) -> None:
    (output,) = outputs[cell]

    assert set(output.data) == {"text/html", "text/plain"}
    assert PROSE in output.data["text/plain"]
    assert "draft tokens rejected" in output.data["text/html"]


def test_a_background_strip_writes_nothing_into_a_later_cell(outputs: list[Any]) -> None:
    assert [output.output_type for output in outputs[3]] == ["stream"]


def test_the_text_view_is_one_plain_display(outputs: list[Any]) -> None:
    assert [dict(output.data) for output in outputs[4]] == [{"text/plain": PROSE}]


def test_the_text_view_shows_control_characters(outputs: list[Any]) -> None:
    assert outputs[5][0].data["text/plain"] == "\u241b[31m<b>⟨U+202E⟩"


def test_a_terminal_gets_the_text_while_it_waits(capsys: pytest.CaptureFixture[str]) -> None:
    gen = FakeGeneration()
    view = show(gen)
    play(gen, speculative_rounds(split_tokens(PROSE)), pause_s=0.001)

    assert isinstance(view, TerminalView)
    assert capsys.readouterr().out == ""
    assert view.wait(60)
    assert capsys.readouterr().out == PROSE + "\n"


def test_a_page_without_ipython_gets_the_finished_strip() -> None:
    gen = FakeGeneration()
    view = show(gen)
    play(gen, speculative_rounds(split_tokens("<b>a word")))
    assert isinstance(view, TerminalView)
    html = view._repr_html_()
    assert "finished" in html
    assert "&lt;b&gt;" in html


def test_waiting_can_time_out_and_go_on(capsys: pytest.CaptureFixture[str]) -> None:
    gen = FakeGeneration()
    view = show(gen, "text")

    assert not view.wait(0.01)
    play(gen, speculative_rounds(split_tokens(PROSE)))

    assert view.wait(60)
    assert capsys.readouterr().out == PROSE + "\n"


def test_no_view_shows_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    gen = FakeGeneration()
    view = show(gen, "none")
    play(gen, speculative_rounds(split_tokens(PROSE)))

    assert isinstance(view, NoView)
    assert view.wait(60)
    assert capsys.readouterr().out == ""


def test_an_unknown_view_is_a_clear_error() -> None:
    with pytest.raises(ConfigError, match="Did you mean 'tokens'"):
        show(FakeGeneration(), "token")  # type: ignore[arg-type]


def test_plain_ipython_has_no_kernel_and_gets_text(pytestconfig: pytest.Config) -> None:
    code = SETUP + "assert run('tokens', 0.001).wait(60)\n"

    done = subprocess.run(
        [sys.executable, "-m", "IPython", "--no-banner", "--colors=NoColor", "--no-confirm-exit", "-c", code],
        capture_output=True, text=True, check=True, timeout=240, cwd=pytestconfig.rootpath,
    )  # fmt: skip

    assert PROSE in done.stdout
