"""A strip of 100,000 tokens: smooth to scroll, all of it reachable, and small in memory."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.widgets.strip_page import FRAMES, load

pytestmark = pytest.mark.browser

FILL = """() => {
  const word = (i) => (i % 50 === 49 ? "\\n" : ` word${i % 97}`);
  for (let start = 0; start < 100000; start += 2000) {
    const row = (i) => ["tax"[i % 3], i, word(i), 0.5, 0.5, null, i >> 1];
    const rows = Array.from({ length: 2000 }, (_, i) => row(start + i));
    model.emit("msg:custom", { type: "delta", start, rows, head: { state: "running", generated: start + 2000 } });
  }
}"""
# What scrolling through it costs the page, counted in elements and never in time.
SCROLL = """async () => {
  const box = document.querySelector(".exsa-text");
  let most = 0;
  let bare = 0;
  for (let step = 0; step < 60; step += 1) {
    box.scrollTop -= 400;
    for (let i = 0; i < 2; i += 1) await new Promise((resolve) => requestAnimationFrame(resolve));
    most = Math.max(most, box.querySelectorAll(".exsa-tok").length);
    const { left, top } = box.getBoundingClientRect();
    bare += document.elementFromPoint(left + 60, top + 100).closest(".exsa-chunk").querySelector(".exsa-tok") ? 0 : 1;
  }
  return { most, bare };
}"""


def test_a_hundred_thousand_tokens_are_elements_only_near_the_reader(page: Any) -> None:
    load(page)
    page.evaluate(FILL)
    page.evaluate(FRAMES)
    box = page.locator(".exsa-text")
    assert box.evaluate("el => el.scrollHeight - el.scrollTop - el.clientHeight") < 30  # it follows the end
    text = box.evaluate("el => [...el.querySelectorAll('.exsa-chunk')].map((chunk) => chunk.textContent).join('')")
    assert text.startswith(" word0 word1 word3")  # every third one was refused
    assert text.count("word") > 65_000

    scrolled = page.evaluate(SCROLL)
    assert scrolled["most"] < 5_000
    assert scrolled["bare"] <= 3  # the reader sees tokens, with few exceptions while they are being made
    box.evaluate("el => (el.scrollTop = el.scrollHeight / 2)")
    page.evaluate(FRAMES)
    middle = box.evaluate("el => el.scrollTop / el.scrollHeight")
    assert 0.4 < middle < 0.6  # what came before does not pull the reader back to the end


def test_the_keyboard_reaches_every_token_of_a_long_text(page: Any) -> None:
    load(page)
    page.evaluate(FILL)
    page.evaluate(FRAMES)
    assert box_tab_stops(page) == 1
    page.evaluate("document.querySelector('.exsa-text [tabindex=\"0\"]').focus()")
    page.keyboard.press("Home")
    assert page.evaluate("document.activeElement.textContent") == "word0"
    assert page.evaluate("document.activeElement.ariaLabel").startswith('target token " word0"')
    page.evaluate(FRAMES)
    assert box_tab_stops(page) == 1
    page.keyboard.press("End")
    page.evaluate(FRAMES)
    assert page.evaluate("document.activeElement.exsaIndex") == 99_999
    page.keyboard.press("ArrowUp")
    assert page.evaluate("document.activeElement.exsaIndex") < 99_990


def box_tab_stops(page: Any) -> int:
    return int(page.locator(".exsa-text [tabindex='0']").count())


@pytest.mark.skipif(not Path("/proc/self/smaps_rollup").exists(), reason="Linux tells a process's own memory")
def test_a_page_with_a_hundred_thousand_tokens_stays_small(page: Any, browser: Any) -> None:
    load(page)
    page.evaluate(FILL)
    page.evaluate(SCROLL)

    processes = browser.new_browser_cdp_session().send("SystemInfo.getProcessInfo")["processInfo"]
    renderers = [process["id"] for process in processes if process["type"] == "renderer"]

    assert max(map(_own_mb, renderers)) < 150  # JupyterLab itself takes some 120 of the 300 MB that a page may


def _own_mb(pid: int) -> float:
    """Memory that a process shares with no other."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]
    sizes = {name: int(rest.split()[0]) for name, rest in (line.split(":", 1) for line in lines)}
    return (sizes["Private_Clean"] + sizes["Private_Dirty"]) / 1024
