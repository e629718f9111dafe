"""Every view at once, beside background requests: live, its errors beneath it, and readable when its kernel is gone."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
from playwright.sync_api import Locator, expect

from tests.browser.lab import Notebook, Server
from tests.gate import until

pytestmark = pytest.mark.browser

ENGINE = """
%load_ext exsa_lab
from exsa_lab import loading
from exsa_lab.testing import ScriptedModel, markov, scripted_engine
from exsa_lab.widgets import BatchTimeline, StepThrough, jobs, timeline, token_strip
token_strip.SAVE_S = timeline.SAVE_S = jobs.SAVE_S = 1.0  # else a test would have to wait
right, wrong = markov(12, 1), markov(12, 2)
pieces = [f"{chr(97 + i) * 3} " for i in range(12)]
draft = ScriptedModel(pieces, lambda t: 0.6 * right(t) + 0.4 * wrong(t), step_s=0.005)
engine = loading.use(scripted_engine(ScriptedModel(pieces, right, step_s=0.05), draft, n_seq_max=4, n_ctx=32768))
"""
ASK = "%%exsa -b --no-chat --max-tokens 5000 --draft-length 3 --temperature 1 --seed 1\naaa bbb "
BREAK = """
import exsa_lab.widgets.jobs as jobs
def broken(*_):
    raise RuntimeError("<b>no rows</b>")
jobs.job_rows = broken
"""
STRIP, JOBS, TIMELINE, STEPS, TUNER = 2, 3, 4, 5, 6


def test_all_views_work_together_and_outlive_their_kernel(notebook: Callable[..., Notebook], server: Server) -> None:
    tuner = "from exsa_lab.tuner import Tuner\nTuner(engine)"
    lab = notebook(ENGINE, ASK, ASK, "%exsa_jobs", "BatchTimeline(engine)", "StepThrough(_exsa)", tuner, BREAK)
    lab.run(0, 1, STRIP, JOBS, TIMELINE, STEPS, TUNER)

    views = {
        STRIP: lab.strip(STRIP),
        JOBS: lab.output(JOBS).locator(".exsa-jobs"),
        TIMELINE: lab.output(TIMELINE).locator(".exsa-timeline"),
        STEPS: lab.output(STEPS).locator(".exsa-steps"),
        TUNER: lab.output(TUNER).locator(".exsa-host"),
    }
    for index in (STRIP, JOBS, TIMELINE):
        _expect_change(views[index])
    expect(views[STEPS]).to_contain_text(re.compile(r"round \d+ of"))
    expect(views[TUNER].get_by_role("button", name="Run", exact=True)).to_be_enabled()

    # An error stands beneath the view it belongs to, as text.
    expect(lab.page.locator(".exsa-problem:visible")).to_have_count(0)
    lab.run(7)
    problem = lab.output(JOBS).get_by_role("alert")
    expect(problem).to_have_text("This table stopped; the jobs go on. RuntimeError: <b>no rows</b>")
    lab.shot("jobs-error", JOBS)
    _expect_change(views[STRIP])

    # What is kept is renewed; then the kernel restarts, and nothing of it is left.
    kept = {STRIP: "running · ", JOBS: "2 running", TIMELINE: "2 running"}
    until(lambda: all(words in str(lab.save().cells[index].outputs) for index, words in kept.items()))
    saved = lab.save()
    server.restart_kernels()
    expect(views[STRIP]).to_contain_text("tok/round")  # what was shown stays
    server.stop_kernels()
    lab.open()
    for index, words in {
        **kept,
        STEPS: "✓ accepted",
        TUNER: "need their kernel",
    }.items():
        expect(lab.output(index)).to_contain_text(words)
        expect(lab.output(index)).not_to_contain_text(re.compile("model not found|error", re.IGNORECASE))
        assert not any("application/vnd.jupyter.widget-view+json" in one.data for one in saved.cells[index].outputs)
    for index in (STRIP, JOBS, TIMELINE):
        lab.shot(f"restarted-{index}", index)


def _expect_change(view: Locator) -> None:
    """Wait until a live view shows something new."""
    # All its text: JupyterLab hides cells that the page has scrolled past, whose visible text is empty.
    before = view.text_content() or ""
    expect(view).not_to_have_text(before)


@pytest.mark.real
def test_the_doctor_is_readable_in_both_themes(notebook: Callable[..., Notebook], server: Server) -> None:
    lab = notebook("%load_ext exsa_lab\n%exsa_load", "%exsa_doctor", "%exsa_status", "%exsa_models")
    lab.run(0, 1, 2, 3)
    expect(lab.output(1)).to_contain_text("What is active, and what to change")
    for theme in ("light", "dark"):
        lab.set_theme(theme)
        for index, name in ((1, "doctor"), (2, "status"), (3, "models")):
            lab.shot(f"{name}-{theme}", index)
    lab.save()
    server.stop_kernels()
    lab.open()
    expect(lab.output(1)).to_contain_text("continuous batching")
