"""The batch view in a real JupyterLab: live while cells run in the background, and readable in the saved notebook."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
from playwright.sync_api import expect

from tests.browser.lab import Notebook

pytestmark = pytest.mark.browser

ENGINE = """
import time, numpy as np
from exsa_lab.testing import ScriptedModel, markov, scripted_engine
from exsa_lab.widgets.timeline import show_timeline
V = 40
right, wrong = markov(V, 1, sharpness=3), markov(V, 2, sharpness=3)
pieces = [chr(97 + i % 26) * (1 + i // 26) + " " for i in range(V)]
target = ScriptedModel(pieces, right, step_s=0.02)
draft = ScriptedModel(pieces, lambda t: 0.75 * right(t) + 0.25 * wrong(t), step_s=0.002)
engine = scripted_engine(target, draft, n_seq_max=4, step_tokens=64, n_ctx=4096)
timeline = show_timeline(engine)
"""
SUBMIT = """
prompts = ["a b c " * n for n in (4, 30, 9, 200, 5, 14)]
gens = [
    engine.submit(
        p, max_tokens=MOST.get(i, 60 + 30 * i), draft_length=(0, 2, 4)[i % 3], temperature=0.8, seed=i, chat=False
    )
    for i, p in enumerate(prompts)
]
"""


def test_follows_background_requests_and_stays_in_the_saved_notebook(notebook: Callable[..., Notebook]) -> None:
    endless = "MOST = {1: 3000}" + SUBMIT  # it runs until it is cancelled, however slow the page is
    lab = notebook(ENGINE, endless, "gens[1].cancel()", "engine.drain()", "engine.close()")
    lab.run(0)
    view = lab.output(0).locator(".exsa-timeline")
    expect(view).to_contain_text("No generations yet")

    lab.run(1)
    expect(view.get_by_role("listitem")).to_have_count(6)
    expect(view).to_contain_text("running")
    lab.shot("timeline-running", 0)
    lab.run(2)
    lab.run(3)
    expect(view).to_contain_text("5 finished, 1 cancelled")
    view.get_by_role("slider", name="Step of the engine").focus()
    for _ in range(5):
        lab.page.keyboard.press("ArrowRight")
    expect(view).to_contain_text("its cells after it")
    for theme in ("light", "dark"):
        lab.set_theme(theme)
        lab.shot(f"timeline-{theme}", 0)
    view.get_by_role("button", name="static, computed").click()
    expect(view).to_contain_text(re.compile(r"Computed, not run: [56] finished"))
    lab.shot("timeline-computed", 0)
    view.get_by_role("button", name="continuous, recorded").click()

    first = view.get_by_role("listitem").first
    first.focus()
    lab.page.keyboard.press("ArrowDown")
    expect(view.get_by_role("listitem").nth(1)).to_be_focused()
    expect(view.get_by_role("listitem").nth(1)).to_have_accessible_name(re.compile("request 2, a b c.*cancelled"))
    for _ in range(4):
        lab.page.keyboard.press("+")
    lab.shot("timeline-zoomed", 0)

    saved = lab.save()
    html = saved.cells[0].outputs[-1].data["text/html"]
    assert "data:image/svg+xml;base64," in html
    assert "Computed: a static batcher would have needed" in html
    assert "<script" not in html
    assert "application/vnd.jupyter.widget-view+json" not in saved.cells[0].outputs[-1].data


def test_a_reloaded_page_shows_it_again(notebook: Callable[..., Notebook]) -> None:
    lab = notebook(ENGINE, "MOST = {}" + SUBMIT + "\nengine.drain()")
    lab.run(0, 1)
    expect(lab.output(0).locator(".exsa-timeline")).to_contain_text("6 finished")
    lab.save()
    lab.open()
    expect(lab.output(0).locator(".exsa-timeline")).to_contain_text("6 finished")
    lab.shot("timeline-reloaded", 0)
