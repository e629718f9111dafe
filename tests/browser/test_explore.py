"""The explorer in a real JupyterLab: live, saved, and opened again without a kernel, with its state and without."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from playwright.sync_api import expect

from tests.browser.lab import Notebook, Server
from tests.gate import until

pytestmark = pytest.mark.browser

SHOW = "import exsa_lab as xl\nview = xl.explore(machine='H100, target x10', acceptance=0.7)\nview"


def test_it_is_played_with_and_read_without_a_kernel(notebook: Callable[..., Notebook], server: Server) -> None:
    lab = notebook(SHOW, "print(view.draft_length, round(view.acceptance, 2))")
    lab.run(0)
    view = lab.output(0).locator(".exsa-explore")
    view.get_by_label("draft length k").focus()
    lab.page.keyboard.press("Home")
    view.get_by_label("acceptance rate a").focus()
    lab.page.keyboard.press("End")
    expect(view.get_by_label("acceptance rate a")).to_have_value("1")
    # The second change waits in the page until the kernel has taken the first.
    until(lambda: "0 1.0" in _printed(lab))
    slider = view.get_by_label("acceptance rate a")
    slider.focus()
    for percent in (99, 98, 97):
        lab.page.keyboard.press("ArrowLeft")
        # Renewed by the kernel, the output is drawn anew; who plays stays in it.
        expect(lab.output(0).get_by_alt_text(f"at acceptance {percent}%")).to_have_count(1)
        expect(slider).to_be_focused()
    for theme in ("light", "dark"):
        lab.set_theme(theme)
        lab.shot(f"explore-live-{theme}", 0)

    saved = lab.save()
    assert set(saved.cells[0].outputs[0].data) == {"text/html", "text/plain"}
    server.stop_kernels()
    lab.open()
    expect(lab.output(0).locator(".exsa-explore")).to_have_count(0)
    expect(lab.output(0)).to_contain_text("speed-up x1.00")
    for theme in ("light", "dark"):
        lab.set_theme(theme)
        lab.shot(f"explore-static-{theme}", 0)


def test_where_the_notebook_keeps_widgets_it_goes_on_without_a_kernel(
    notebook: Callable[..., Notebook], server: Server
) -> None:
    server.keep_widgets(True)
    lab = notebook(SHOW)
    lab.run(0)
    expect(lab.output(0).locator(".exsa-explore")).to_have_count(1)
    saved = lab.save()
    assert "widgets" in saved.metadata
    server.stop_kernels()
    lab.open()  # its new kernel knows of no widget
    view = lab.output(0).locator(".exsa-explore")
    before = view.get_by_role("status").inner_text()
    view.get_by_label("acceptance rate a").focus()
    lab.page.keyboard.press("End")
    expect(view.get_by_role("status")).not_to_have_text(before)
    expect(view.get_by_role("status")).to_contain_text("Best: k =")
    lab.shot("explore-no-kernel", 0)


def _printed(lab: Notebook) -> str:
    lab.run(1)
    return lab.output(1).inner_text()
