"""One JupyterLab for all browser tests; a fresh page and kernel for each."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

from tests.browser.lab import WAIT_MS, Notebook, Server, write_notebook
from tests.conftest import chromium

expect.set_options(timeout=WAIT_MS)

LOCAL = ("http://127.0.0.1:", "ws://127.0.0.1:", "data:", "blob:")
# No request leaves the machine: what a page needs must come from the package.
QUIET = [
    "--no-sandbox",
    "--disable-background-networking",
    "--disable-component-update",
    "--no-first-run",
    "--disable-gpu",
]


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    server = Server(tmp_path_factory.mktemp("jupyterlab"))
    try:
        server.wait_until_ready()
        yield server
    finally:
        server.close()


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    # Per module: Playwright's own event loop must be gone before asyncio tests run.
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium(), args=QUIET)
        yield browser
        browser.close()


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    context = browser.new_context(viewport={"width": 1280, "height": 900}, device_scale_factor=1.5)
    context.set_default_timeout(WAIT_MS)
    page = context.new_page()
    elsewhere: list[str] = []
    page.on("request", lambda request: None if request.url.startswith(LOCAL) else elsewhere.append(request.url))
    yield page
    context.close()
    assert elsewhere == [], "the page asked for something outside of this machine"


@pytest.fixture(scope="session")
def shots(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where screenshots go: $EXSA_SHOTS, or a temporary folder."""
    folder = Path(os.environ["EXSA_SHOTS"]) if "EXSA_SHOTS" in os.environ else tmp_path_factory.mktemp("shots")
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@pytest.fixture
def notebook(
    page: Page, server: Server, shots: Path, request: pytest.FixtureRequest
) -> Iterator[Callable[..., Notebook]]:
    """Open a notebook with the given cells, ``notebook("1 + 1", "2 + 2")``, or one that is there already."""

    def open_notebook(*sources: str, path: Path | None = None) -> Notebook:
        path = path or write_notebook(server.root / f"{request.node.name}.ipynb", *sources)
        lab = Notebook(page, server, path, shots)
        lab.set_theme("light")
        return lab

    yield open_notebook
    server.stop_kernels()
    server.keep_widgets(False)
