"""The race in a real JupyterLab: run from a cell, played, and readable once the kernel is gone."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from playwright.sync_api import expect

from tests.browser.lab import Notebook, Server

pytestmark = pytest.mark.browser

ENGINE = """
%load_ext exsa_lab
from exsa_lab import loading
from exsa_lab.testing import ScriptedModel, markov, scripted_engine
right, wrong = markov(12, 1), markov(12, 2)
pieces = [f"{chr(97 + i) * 3} " for i in range(12)]
draft = ScriptedModel(pieces, lambda t: 0.7 * right(t) + 0.3 * wrong(t), step_s=0.002)
loading.use(scripted_engine(ScriptedModel(pieces, right, step_s=0.01), draft));
"""
RACE = "%%exsa --race 3 --max-tokens 80 --no-chat --drafter model --draft-length 3\naaa bbb "


def test_races_from_a_cell_and_stays_readable_without_a_kernel(
    notebook: Callable[..., Notebook], server: Server
) -> None:
    lab = notebook(ENGINE, RACE)
    lab.run(0, 1)
    view = lab.output(1).locator(".exsa-race")
    expect(view).to_contain_text("times as fast as plain")
    view.focus()
    lab.page.keyboard.press("Home")
    for _ in range(4):
        lab.page.keyboard.press("PageDown")
    expect(view.get_by_role("listitem").first).to_contain_text("of 80 tokens")
    for theme in ("light", "dark"):
        lab.set_theme(theme)
        for width in (900, 2000):
            lab.page.set_viewport_size({"width": width, "height": 900})
            lab.shot(f"race-{theme}-{width}", 1)

    saved = lab.save()
    data = saved.cells[1].outputs[-1].data
    assert set(data) == {"text/html", "text/plain"}
    server.stop_kernels()
    lab.open()
    expect(lab.output(1).locator(".exsa-race")).to_have_count(0)
    expect(lab.output(1)).to_contain_text("3 runs each")
    for theme in ("dark", "light"):
        lab.set_theme(theme)
        for width in (900, 2000):
            lab.page.set_viewport_size({"width": width, "height": 900})
            lab.shot(f"race-static-{theme}-{width}", 1)
