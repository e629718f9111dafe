"""Figures in a real JupyterLab: drawn without a network, and drawn again from the saved notebook without a kernel."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from playwright.sync_api import expect

from tests.browser.lab import Notebook, Server

pytestmark = pytest.mark.browser

RUN = """
from exsa_lab import plots
from exsa_lab.testing import ScriptedModel, markov, scripted_engine
right, wrong = markov(12, 1), markov(12, 2)
pieces = [chr(97 + i) * 3 for i in range(12)]
draft = ScriptedModel(pieces, lambda t: 0.6 * right(t) + 0.4 * wrong(t))
with scripted_engine(ScriptedModel(pieces, right), draft) as engine:
    gen = engine.generate("aaabbb", draft_length=4, max_tokens=80, chat=False, drafter="model")
"""


def test_figures_are_drawn_offline_and_stay_in_the_notebook(notebook: Callable[..., Notebook], server: Server) -> None:
    lab = notebook(RUN, "plots.acceptance_by_position(gen)", "plots.draft_lengths(gen)")
    requests: list[str] = []
    lab.page.on("request", lambda request: requests.append(request.url))
    lab.run(0, 1, 2)
    for index in (1, 2):
        expect(lab.output(index).locator(".js-plotly-plot .main-svg").first).to_be_visible()
    for theme in ("light", "dark"):
        lab.set_theme(theme)
        lab.shot(f"plot-{theme}", 2)
    assert [url for url in requests if "127.0.0.1" not in url and not url.startswith(("data:", "blob:"))] == []

    saved = lab.save()
    assert max(len(str(output)) for cell in saved.cells for output in cell.outputs) < 100_000
    server.stop_kernels()
    lab.open()
    # JupyterLab keeps a picture of what was drawn, and shows that first.
    expect(lab.output(1).locator(".js-plotly-plot .main-svg, img").first).to_be_visible()
    lab.shot("plot-reopened", 1)
