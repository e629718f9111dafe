"""VS Code's own widget manager, told what a real kernel said, in the orders in which VS Code and Colab tell it.

VS Code knows a widget from its first message on and makes a view once the output is scrolled to. Colab makes the widget
in a frame of the output, from the state it then has: what was sent before is not told again.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, Route, expect

from tests.browser.lab import WAIT_MS
from tests.conftest import VSCODE_MANAGER
from tests.shell import Kernel

ANYWIDGET = Path(sys.prefix) / "share" / "jupyter" / "nbextensions" / "anywidget" / "index.js"

pytestmark = [pytest.mark.browser, pytest.mark.vscode]

SITE = "http://127.0.0.1:9/"
FILES = {
    "": None,
    "page.js": Path(__file__).with_name("vscode_page.js"),
    "manager.js": VSCODE_MANAGER,
    "anywidget.js": ANYWIDGET,
}
SET_UP = """
%load_ext exsa_lab
import exsa_lab as xl
from exsa_lab import loading
from exsa_lab.testing import ScriptedModel, markov, scripted_engine
pieces = [f"{chr(97 + i) * 3} " for i in range(12)]
target, draft = (ScriptedModel(pieces, markov(12, 1), step_s=seconds) for seconds in (0.02, 0.0))
engine = loading.use(scripted_engine(target, draft, n_seq_max=4))  # no draft token is refused: the text is in one piece
"""
ASK = "%%exsa --no-chat --max-tokens 200 --draft-length 3 --temperature 1 --seed 1 --name gen\naaa bbb "
VIEWS = {
    "steps": ("xl.StepThrough(gen)", "round"),
    "timeline": ("xl.show_timeline(engine)", "finished"),
    "jobs": ('later = engine.submit("aaa ", chat=False, max_tokens=1000, draft_length=0)\n%exsa_jobs', "running"),
    "explore": ("xl.explore()", "acceptance"),
    "play": ('xl.play("aaa ", chat=False)', "aaa"),
    "tuner": ("xl.Tuner(engine)", "Run"),
    "race": (
        "for job in engine.generations:\n    job.cancel()\nengine.drain()\n"
        'xl.race("aaa ", plain=dict(draft_length=0), auto={}, chat=False, max_tokens=8)',
        "plain",
    ),
}
Messages = list[dict[str, Any]]


@pytest.fixture(scope="module")
def kernel() -> Iterator[Kernel]:
    made = Kernel(VSCODE_PID="1")
    try:
        assert made.run(SET_UP).succeeded
        yield made
    finally:
        made.close()


@pytest.fixture(scope="module")
def recorded(kernel: Kernel) -> Messages:
    """What the kernel said of one cell that asked."""
    return told(kernel, ASK)


@pytest.fixture(scope="module")
def text(kernel: Kernel, recorded: Messages) -> str:
    return kernel.run("print(gen.text)").stdout.strip()


def told(kernel: Kernel, cell: str) -> Messages:
    """Run a cell; returns its messages that a page shows, as it gets them."""
    result = kernel.run(cell)
    assert result.succeeded, result.evalue
    types = ("comm_open", "comm_msg", "comm_close", "display_data", "update_display_data", "execute_result")
    messages = [message for message in result.messages if message["msg_type"] in types]
    return list(json.loads(json.dumps(messages, default=str)))


@pytest.fixture
def site(page: Page) -> Page:
    """A page that holds VS Code's manager and nothing else."""

    def answer(route: Route) -> None:
        path = FILES[route.request.url.removeprefix(SITE)]
        body = path.read_text(encoding="utf-8") if path else "<!doctype html><meta charset=utf-8><body>"
        route.fulfill(body=body, content_type="text/javascript" if path else "text/html")

    page.route(f"{SITE}**", answer)
    start(page)
    return page


def start(page: Page) -> None:
    page.goto(SITE)
    page.evaluate(
        "async (site) => { globalThis.front = await import(`${site}page.js`);"
        " await front.start({ managerUrl: `${site}manager.js`, anywidgetUrl: `${site}anywidget.js` }); }",
        SITE,
    )


def tell(page: Page, messages: Messages, **options: Any) -> None:
    for message in messages:
        page.evaluate("([message, options]) => void front.take(message, options)", [message, options])


def expect_whole(page: Page, text: str) -> None:
    """The last output is the final strip."""
    output = page.locator("section").last
    for words in ("finished", text[:40], text[-40:]):
        expect(output).to_contain_text(words.strip(), timeout=WAIT_MS)
    expect(page.locator(".exsa-problem:visible").filter(has_text=" ")).to_have_count(0, timeout=WAIT_MS)


def test_a_running_view_is_the_widget_and_the_final_one_is_static(site: Page, recorded: Messages, text: str) -> None:
    shown = [i for i, message in enumerate(recorded) if message["msg_type"] == "display_data"]
    final = [i for i, message in enumerate(recorded) if message["msg_type"] == "update_display_data"]
    tell(site, recorded[: final[-1]])
    output = site.locator("section").last
    expect(output).to_have_attribute("data-kind", "widget", timeout=WAIT_MS)
    expect(output.locator(".exsa-text")).to_contain_text(text[:40].strip(), timeout=WAIT_MS)
    assert shown[0] < final[-1]
    tell(site, recorded[final[-1] :])
    expect(output).to_have_attribute("data-kind", "static", timeout=WAIT_MS)
    expect_whole(site, text)


def test_a_view_made_after_the_end_shows_all(site: Page, recorded: Messages, text: str, shots: Path) -> None:
    """The output is scrolled to when the cell has ended, but VS Code has not yet heard of the final display."""
    before_final = [message for message in recorded if message["msg_type"] != "update_display_data"]
    tell(site, before_final, showViews=False)
    site.evaluate("front.showAll()")
    expect(site.locator("section").last).to_have_attribute("data-kind", "widget", timeout=WAIT_MS)
    expect_whole(site, text)
    site.screenshot(path=shots / "vscode.png")


def test_a_frame_that_heard_nothing_before_the_display_shows_all(site: Page, recorded: Messages, text: str) -> None:
    """Colab: rows of the first half were sent before there was a frame."""
    half = len(recorded) // 2
    custom = [message for message in recorded[:half] if _is_custom(message)]
    assert custom, "no row was sent in the first half"
    tell(site, [message for message in recorded[:half] if not _is_custom(message)])
    tell(site, [message for message in recorded[half:] if message["msg_type"] != "update_display_data"])
    asked = site.evaluate(
        "front.sent().map((each) => each.content.data.content).filter((each) => each?.type === 'hello')"
    )
    assert asked[0]["have"] == 0
    expect_whole(site, text)


def _is_custom(message: dict[str, Any]) -> bool:
    return message["msg_type"] == "comm_msg" and message["content"]["data"].get("method") == "custom"


def test_an_output_whose_kernel_is_gone_is_static(site: Page, recorded: Messages, text: str) -> None:
    """A notebook that is opened later: the last data of each display, and no widget is known."""
    displays = [m for m in recorded if m["msg_type"] in ("display_data", "update_display_data")]
    tell(site, displays, showViews=False)
    site.evaluate("front.showAll()")
    expect(site.locator("section").last).to_have_attribute("data-kind", "static", timeout=WAIT_MS)
    expect_whole(site, text)


@pytest.mark.parametrize("name", VIEWS)
def test_every_other_view_is_live(site: Page, kernel: Kernel, recorded: Messages, name: str) -> None:
    cell, word = VIEWS[name]
    tell(site, told(kernel, cell))
    live = site.locator("section[data-kind=widget]").filter(has_text=word)
    expect(live).to_have_count(1, timeout=WAIT_MS)
    expect(site.locator(".exsa-problem:visible").filter(has_text="cannot")).to_have_count(0, timeout=WAIT_MS)
