"""The tuner in a real JupyterLab: clicked in the page, responsive while it runs, its table kept by the notebook."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from playwright.sync_api import expect

from tests.browser.lab import Notebook

pytestmark = pytest.mark.browser

TUNER = """
from exsa_lab.testing import ScriptedModel, markov, scripted_engine
from exsa_lab.experiments import Setting
from exsa_lab.tuner import Tuner
right, wrong = markov(12, 1), markov(12, 2)
pieces = [chr(97 + i) * 3 for i in range(12)]
draft = ScriptedModel(pieces, lambda t: 0.6 * right(t) + 0.4 * wrong(t), step_s=0.002)
engine = scripted_engine(ScriptedModel(pieces, right, step_s=0.01), draft, n_seq_max=4)
tuner = Tuner(engine, prompts=["aaa", "bbb", "ccc"], setting=Setting(max_tokens=60, draft_length=0, chat=False))
tuner
"""


def test_run_change_run_and_compare(notebook: Callable[..., Notebook]) -> None:
    lab = notebook(TUNER, "engine.status().running", "tuner.controls.draft_length.value = 3")
    lab.run(0)
    output = lab.output(0)
    run = output.get_by_role("button", name="Run", exact=True)
    run.click()
    expect(output).to_contain_text("of 3 done")
    lab.run(1)  # another cell answers while it runs
    expect(output).to_contain_text("Run 1 done")
    lab.run(2)
    run.click()
    expect(output).to_contain_text("Run 2 done")
    output.get_by_role("button", name="Compare").click()
    expect(output).to_contain_text("run 2 against run 1")
    expect(output.locator("table")).to_contain_text("draft_length=3")
    for theme in ("light", "dark"):
        lab.set_theme(theme)
        lab.shot(f"tuner-{theme}", 0)
    saved = lab.save()
    tables = [o.data.get("text/html", "") for o in saved.cells[0].outputs]
    assert any("draft_length=3" in html for html in tables)
