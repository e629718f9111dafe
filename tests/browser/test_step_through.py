"""The step-through in a real JupyterLab: live from a saved trace, and readable once the kernel is gone."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from playwright.sync_api import expect

from tests.browser.lab import Notebook, Server

pytestmark = pytest.mark.browser

RECORD = """
from exsa_lab.testing import ScriptedModel, markov, scripted_engine
right, wrong = markov(12, 1), markov(12, 2)
pieces = [f"{chr(97 + i) * 3} " for i in range(12)]
draft = ScriptedModel(pieces, lambda t: 0.6 * right(t) + 0.4 * wrong(t), step_s=0.002)
with scripted_engine(ScriptedModel(pieces, right, step_s=0.01), draft) as engine:
    options = dict(max_tokens=60, temperature=0.9, seed=4, chat=False, drafter="model")
    gen = engine.generate("aaa bbb ", draft_length=4, **options)
gen.trace.save("run.json")
"""
SHOW = """
from exsa_lab.trace.trace import Trace
from exsa_lab.widgets.step_through import StepThrough
StepThrough(Trace.load("run.json"))
"""


def test_plays_a_saved_trace_and_stays_readable_without_a_kernel(
    notebook: Callable[..., Notebook], server: Server
) -> None:
    lab = notebook(RECORD, SHOW)
    lab.run(0, 1)
    view = lab.output(1).locator(".exsa-steps")
    view.focus()
    lab.page.keyboard.press("Home")
    for _ in range(30):
        lab.page.keyboard.press("ArrowRight")
    expect(view).to_contain_text("round 3 of")
    for theme in ("light", "dark"):
        lab.set_theme(theme)
        lab.shot(f"steps-{theme}", 1)

    saved = lab.save()
    data = saved.cells[1].outputs[0].data
    assert "application/vnd.jupyter.widget-view+json" not in data
    server.stop_kernels()
    lab.open()
    expect(lab.output(1).locator(".exsa-steps")).to_have_count(0)
    expect(lab.output(1)).to_contain_text("rounds. ✓ accepted")
    lab.shot("steps-static", 1)
