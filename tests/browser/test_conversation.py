"""Chat cells in a real JupyterLab: the cached count, a fork, a cell run again, and how a conversation looks."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from playwright.sync_api import expect

from tests.browser.lab import WAIT_MS, Notebook

pytestmark = pytest.mark.browser

SET_UP = """
%load_ext exsa_lab
from exsa_lab import loading
from exsa_lab.testing import ScriptedModel, scripted_engine

letters = "abcdefgh<>\\n"
cycle = lambda tokens: [float(i == (tokens[-1] + 1) % 8) for i in range(len(letters))]
loading.use(scripted_engine(ScriptedModel(letters, cycle, name="letters")))
"""


def test_cached_count_fork_and_a_cell_run_again(notebook: Callable[..., Notebook]) -> None:
    lab = notebook(
        SET_UP,
        "%%exsa --chat --max-tokens 4\nabc",
        "%%exsa --chat --max-tokens 4\na<b>",
        "other = chat.fork(1)",
        "%%exsa --chat other --max-tokens 4\nh",
        "chat",
        "%exsa_chats",
    )
    lab.run(*range(7))

    expect(lab.strip(1).locator(".exsa-numbers")).to_contain_text("4 tokens", timeout=WAIT_MS)
    expect(lab.strip(1).locator(".exsa-numbers")).not_to_contain_text("cached")
    expect(lab.strip(2).locator(".exsa-numbers")).to_contain_text("6 of 11 cached", timeout=WAIT_MS)
    expect(lab.strip(4).locator(".exsa-numbers")).to_contain_text("7 of 8 cached", timeout=WAIT_MS)
    expect(lab.output(5)).to_contain_text("a<b>")
    expect(lab.output(6)).to_contain_text("7 of 8")
    lab.shot("conversation-light")
    lab.set_theme("dark")
    lab.shot("conversation-dark")

    lab.run(1)
    expect(lab.output(1)).to_contain_text("Replaced turn 1 and dropped the one after it.", timeout=WAIT_MS)
