"""Every view in Notebook 7 and in Voila, with the default pair: live, and static once the kernel is gone."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect
from playwright.sync_api import TimeoutError as PageTimeout

from tests import every_view
from tests.browser.conftest import LOCAL
from tests.browser.lab import KERNEL_IS_IDLE, WAIT_MS, Server

pytestmark = [pytest.mark.browser, pytest.mark.real]

LIVE = {
    "strip": ".exsa-strip",
    "background": ".exsa-strip",
    "show": ".exsa-strip",
    "steps": ".exsa-steps",
    "timeline": ".exsa-timeline",
    "jobs": ".exsa-jobs",
    "tuner": ".exsa-host",
}
"""Views by their cell, and what the page's script puts there."""
IS_READY = "() => window.jupyterapp?.shell.currentWidget?.context?.isReady"
HAS_ENDED = "() => window.jupyterapp.shell.currentWidget.content.widgets.at(-1).model.executionCount"
RUN = "void window.jupyterapp.commands.execute('notebook:run-all-cells')"
SAVE = "window.jupyterapp.commands.execute('docmanager:save').then(() => null)"


@pytest.fixture
def offline_page(browser: Browser) -> Iterator[Page]:
    """A page that gets nothing from elsewhere: Voila's own template asks for fonts and MathJax."""
    context = browser.new_context(viewport={"width": 1280, "height": 900}, device_scale_factor=1.5)
    context.route(lambda url: not url.startswith(LOCAL), lambda route: route.abort())
    yield context.new_page()
    context.close()


def check(page: Page, outputs: str, *, is_live: bool) -> None:
    """Hold each view's output, which ``outputs`` finds from the set-up's on, against what it must show."""
    page.set_viewport_size({"width": 1280, "height": 8000})  # else cells out of sight may have no elements
    for index, (name, (_, word)) in enumerate(every_view.VIEWS.items(), start=1):
        output = page.locator(outputs).nth(index)
        expect(output, name).to_contain_text(word, timeout=WAIT_MS)
        if is_live and name in LIVE:
            expect(output.locator(LIVE[name]), name).to_be_visible()
        if is_live or name != "captured":  # an Output widget is ipywidgets' own, which waits for a kernel
            expect(output, name).not_to_contain_text(re.compile(every_view.PROBLEM), use_inner_text=True)


def test_notebook_7(page: Page, server: Server, shots: Path) -> None:
    path = every_view.write(server.root / "in_notebook_7.ipynb")
    outputs = ".jp-Notebook .jp-Cell >> .jp-Cell-outputWrapper"
    page.goto(server.url(f"notebooks/{path.name}"))
    page.wait_for_function(KERNEL_IS_IDLE, timeout=WAIT_MS)
    page.evaluate(RUN)
    page.wait_for_function(HAS_ENDED, timeout=WAIT_MS)
    check(page, outputs, is_live=True)
    page.set_viewport_size({"width": 1280, "height": 900})
    page.screenshot(path=shots / "notebook-7.png")

    page.evaluate(SAVE)
    server.stop_kernels()
    page.goto(server.url(f"notebooks/{path.name}"))
    page.wait_for_function(IS_READY, timeout=WAIT_MS)
    check(page, outputs, is_live=False)


def test_voila(offline_page: Page, server: Server, shots: Path) -> None:
    """Its page has outputs alone, in one row."""
    page = offline_page
    path = every_view.write(server.root / "in_voila.ipynb")
    address = server.url(f"voila/render/{path.name}")
    try:
        page.goto(address, timeout=WAIT_MS)
    except PageTimeout:
        # nbclient may wait for ever for the reply of a cell with an Output widget (jupyter/nbclient#312).
        server.stop_kernels()
        page.goto(address, timeout=WAIT_MS)
    for _, word in every_view.VIEWS.values():
        expect(page.locator("body")).to_contain_text(word, timeout=WAIT_MS)
    for view in set(LIVE.values()):
        expect(page.locator(view).first).to_be_visible(timeout=WAIT_MS)
    expect(page.locator("body")).not_to_contain_text(re.compile(every_view.PROBLEM), use_inner_text=True)
    page.screenshot(path=shots / "voila.png")
    server.stop_kernels()
