"""The playground in a real JupyterLab on the real pair: played with, saved, and read without a kernel."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from playwright.sync_api import expect

from tests.browser.lab import Notebook, Server

pytestmark = [pytest.mark.browser, pytest.mark.real]

SHOW = "import exsa_lab as xl\nengine = xl.load()\nview = xl.play('Write a line about the sea.', top_p=0.95)\nview"


def test_it_is_played_with_and_read_without_a_kernel(notebook: Callable[..., Notebook], server: Server) -> None:
    server.keep_widgets(True)
    lab = notebook(SHOW, "print(repr(view.text))")
    lab.run(0)
    view = lab.output(0).locator(".exsa-play")
    tokens = view.locator(".exsa-pl-token")
    view.focus()
    for count in (1, 2):  # the output is drawn anew after each, and the keys go on
        lab.page.keyboard.press("ArrowDown")
        lab.page.keyboard.press("Enter")
        expect(tokens).to_have_count(count)
    field = view.get_by_label("Go on with this text")
    field.fill(" is a mirror")
    field.press("Enter")
    expect(view.locator(".exsa-pl-text")).to_contain_text(" is a mirror")
    before = tokens.count()
    view.get_by_role("button", name="draft and test").click()
    expect(view.get_by_role("status")).to_contain_text("The draft draws")
    expect(tokens).to_have_count(before + 1)
    view.focus()
    lab.page.keyboard.press("ArrowLeft")
    lab.page.keyboard.press("ArrowLeft")
    expect(view.locator("button.exsa-pl-row").filter(has_text="✓")).to_contain_text("mirror")
    view.locator("button.exsa-pl-row").filter(has_not_text="✓").nth(2).click()
    expect(view.locator(".exsa-pl-branches button")).to_have_count(2)
    lab.run(1)
    expect(lab.output(1)).to_contain_text("is a")
    for theme in ("light", "dark"):
        lab.set_theme(theme)
        lab.shot(f"play-live-{theme}", 0)

    lab.save()
    server.stop_kernels()
    lab.open()
    # The notebook kept the widget's state: sliders and places that were read go on without its kernel.
    words = view.locator(".exsa-pl-words").inner_text()
    view.get_by_label("top-k").fill("2")
    expect(view.locator(".exsa-pl-words")).not_to_have_text(words)
    lab.shot("play-no-kernel", 0)

    saved = lab.save()
    assert "<script" not in saved.cells[0].outputs[0].data["text/html"]


def test_a_saved_notebook_shows_it_as_it_was(notebook: Callable[..., Notebook], server: Server) -> None:
    lab = notebook(SHOW + ".force(' waves') or view")
    lab.run(0)
    expect(lab.output(0).locator(".exsa-play")).to_have_count(1)
    lab.save()
    server.stop_kernels()
    lab.open()
    expect(lab.output(0).locator(".exsa-play")).to_have_count(0)
    expect(lab.output(0)).to_contain_text("waves▮")
    expect(lab.output(0)).to_contain_text("accepted with probability")
    for theme in ("light", "dark"):
        lab.set_theme(theme)
        lab.shot(f"play-static-{theme}", 0)
