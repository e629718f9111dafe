"""The tuner in a real JupyterLab: clicked in the page, responsive while it runs, its table kept by the notebook."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from playwright.sync_api import expect

from tests.browser.lab import Notebook, Server

pytestmark = pytest.mark.browser

ENGINE = """
from exsa_lab.testing import ScriptedModel, markov, scripted_engine
right, wrong = markov(12, 1), markov(12, 2)
pieces = [chr(97 + i) * 3 for i in range(12)]
draft = ScriptedModel(pieces, lambda t: 0.6 * right(t) + 0.4 * wrong(t), step_s=0.002)
engine = scripted_engine(ScriptedModel(pieces, right, step_s=0.01), draft, n_seq_max=4)
"""
TUNER = """from exsa_lab.experiments import Setting
from exsa_lab.tuner import Tuner
tuner = Tuner(engine, prompts=["aaa", "bbb", "ccc"], setting=Setting(max_tokens=60, draft_length=0, chat=False))
tuner"""


def test_run_change_run_and_compare(notebook: Callable[..., Notebook], server: Server) -> None:
    lab = notebook(ENGINE, TUNER, "engine.status().running", "tuner.controls.draft_length.value = 3")
    lab.run(0, 1)
    output = lab.output(1)
    run = output.get_by_role("button", name="Run", exact=True)
    run.click()
    expect(output).to_contain_text("of 3 done")
    lab.run(2)  # another cell answers while it runs
    expect(output).to_contain_text("Run 1 done")
    lab.run(3)
    run.click()
    expect(output).to_contain_text("Run 2 done")
    output.get_by_role("button", name="Compare").click()
    expect(output).to_contain_text("run 2 against run 1")
    expect(output.locator("table")).to_contain_text("draft_length=3")
    # Every control has a name for who cannot see where it stands.
    for role in ("combobox", "slider", "spinbutton", "textbox"):
        for control in output.get_by_role(role).all():  # type: ignore[arg-type]  # a role's name
            expect(control).not_to_have_accessible_name("")
    output.get_by_text("The code of this setting").click()
    for theme in ("light", "dark"):
        lab.set_theme(theme)
        lab.shot(f"tuner-{theme}", 1)

    saved = lab.save()
    bundles = [one.data for one in saved.cells[1].outputs]
    assert not any("application/vnd.jupyter.widget-view+json" in data for data in bundles)
    assert any("draft_length=3" in data["text/html"] for data in bundles)
    server.stop_kernels()
    lab.open()
    expect(lab.output(1)).to_contain_text("The tuner's controls need their kernel")
    expect(lab.output(1).locator("table")).to_contain_text("draft_length=3")
    expect(lab.output(1)).not_to_contain_text("widget")
    lab.shot("tuner-static", 1)
