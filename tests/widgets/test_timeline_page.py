"""The batch view's page side in a real browser, with a hand-made model instead of JupyterLab."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from exsa_lab.widgets.timeline import BatchTimeline
from exsa_lab.widgets.timeline_rows import Row

pytestmark = pytest.mark.browser

SCRIPT = str(BatchTimeline._esm)
CSS = str(BatchTimeline._css)
LOAD = """async (esm) => {
  const module = await import(URL.createObjectURL(new Blob([esm], { type: "text/javascript" })));
  const listeners = {};
  const data = { view_id: "v", limits: { slots: 4, cells: 100 } };
  const model = {
    sent: [], get: (name) => data[name], on: (name, callback) => (listeners[name] = callback), off: () => {},
    send: (message) => model.sent.push(message), emit: (message) => listeners["msg:custom"](message),
  };
  const widget = module.default();
  Object.assign(window, { model, release: widget.initialize({ model }) });
  window.unmount = widget.render({ model, el: document.getElementById("out") });
}"""
ROWS: list[Row] = [
    ["lane", 1, 0.0, "why is the sky blue"],
    ["lane", 2, 0.1, "<b>bold</b>"],
    ["state", 1, 0.2, "running", ""],
    ["prefill", 1, 0.2, 0.3, 30, 0, 30],
    ["rounds", 1, 0.3, 0.35, 1, 0, 0, 1],
    ["rounds", 1, 0.35, 0.5, 1, 3, 2, 3],
    ["step", 0.2, 0.3, 1, 1, 30, 30, 0, 0, [[1, 1, 30, 0, 0]]],
    ["step", 0.3, 0.5, 1, 1, 36, 0, 3, 1, [[0, 0, 9, 0, 0], [1, 1, 33, 6, 0]]],
]


@pytest.fixture
def page(browser: Any) -> Iterator[Any]:
    page = browser.new_page(viewport={"width": 900, "height": 600})
    page.set_default_timeout(60_000)
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.set_content(
        f"<style>{CSS}</style><div id=out></div><exsa-view data-view=v><div id=static>static</div></exsa-view>"
    )
    page.evaluate(LOAD, SCRIPT)
    yield page
    page.close()
    assert errors == []


def _send(page: Any, seq: int, rows: list[Row], *, reset: bool = False) -> None:
    message = {"type": "rows", "seq": seq, "reset": reset, "rows": rows}
    page.evaluate("(message) => model.emit(message)", message)


def _lanes(page: Any) -> list[str]:
    return [lane.get_attribute("aria-label") for lane in page.locator("#out [role=listitem]").all()]


def _frames(page: Any) -> None:
    page.evaluate("async () => { for (let i = 0; i < 3; i++) await new Promise(requestAnimationFrame); }")


def test_rows_become_lanes_with_their_sums(page: Any) -> None:
    _send(page, 0, ROWS, reset=True)
    first, second = _lanes(page)
    assert first == (
        "request 1, why is the sky blue, running, 4 tokens, 2 of 3 drafted accepted, 20.0 tokens per second"
    )
    assert second == "request 2, <b>bold</b>, waiting, 0 tokens"
    assert page.locator("#out b:has-text('bold')").count() == 0
    assert "1 waiting, 1 running" in page.locator("#out").inner_text()


def test_a_missed_message_is_asked_for_once(page: Any) -> None:
    _send(page, 0, ROWS[:2], reset=True)
    _send(page, 2, ROWS[3:4])
    _send(page, 3, ROWS[4:5])
    assert page.evaluate("model.sent") == [{"type": "hello"}] * 2  # one when it opened, one for the gap
    assert "0 tokens" in _lanes(page)[0]
    _send(page, 4, ROWS, reset=True)
    assert "4 tokens" in _lanes(page)[0]
    _send(page, 5, [["rounds", 1, 0.5, 0.6, 1, 3, 3, 4]])
    assert "8 tokens" in _lanes(page)[0]


def test_a_reset_drops_what_was_shown(page: Any) -> None:
    _send(page, 0, ROWS, reset=True)
    _send(page, 1, [["lane", 7, 0.0, "new"]], reset=True)
    assert _lanes(page) == ["request 7, new, waiting, 0 tokens"]


def test_the_picture_has_ink_for_what_happened(page: Any) -> None:
    _send(page, 0, ROWS, reset=True)
    _frames(page)
    inked = page.evaluate("""() => {
      const canvas = document.querySelector("#out canvas");
      const data = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data;
      let count = 0;
      for (let i = 3; i < data.length; i += 4) count += data[i] > 0;
      return count / (data.length / 4);
    }""")
    assert 0.02 < inked < 0.9


def test_pointing_at_a_round_tells_it(page: Any) -> None:
    _send(page, 0, ROWS, reset=True)
    _frames(page)
    box = page.locator("#out canvas").bounding_box()
    page.mouse.move(box["x"] + 0.42 / 0.515 * box["width"], box["y"] + 30)
    tip = page.locator("#out .exsa-tl-tip")
    assert "2 of 3 drafted accepted, 150 ms" in tip.inner_text()
    page.mouse.move(box["x"] + 0.42 / 0.515 * box["width"], box["y"] + box["height"] - 10)
    assert "36 cells" in tip.inner_text()


def test_keys_zoom_and_move(page: Any) -> None:
    _send(page, 0, ROWS, reset=True)
    _frames(page)
    canvas = page.locator("#out canvas")
    everything = canvas.get_attribute("aria-label")
    page.locator("#out [role=listitem]").first.focus()
    page.keyboard.press("+")
    page.keyboard.press("ArrowLeft")
    _frames(page)
    assert canvas.get_attribute("aria-label") != everything
    page.keyboard.press("0")
    _frames(page)
    assert canvas.get_attribute("aria-label") == everything


def test_a_static_output_shows_the_live_view_while_there_is_one(page: Any) -> None:
    assert page.locator("exsa-view:has(#static) .exsa-timeline").count() == 1
    assert not page.locator("#static").is_visible()
    page.evaluate("release()")
    assert page.locator("exsa-view:has(#static) .exsa-timeline").count() == 0
    assert page.locator("#static").is_visible()


def test_pointing_at_a_step_tells_who_shared_it(page: Any) -> None:
    _send(page, 0, ROWS, reset=True)
    _frames(page)
    detail = page.locator("#out .exsa-tl-detail")
    assert "Point at a step" in detail.inner_text()
    box = page.locator("#out canvas").bounding_box()
    page.mouse.move(box["x"] + 0.42 / 0.515 * box["width"], box["y"] + 30)
    assert "step 2 of 2" in detail.inner_text()
    assert "1 token of its own, 3 draft tokens, 2 accepted, 4 new in the text" in detail.inner_text()
    assert detail.locator("tbody tr").count() == 2
    assert "kept: its request is over" in detail.locator("tbody tr").first.inner_text()
    assert "33 cells, the first 6 are those of slot 0" in detail.locator("tbody tr").last.inner_text()
    assert detail.locator(".exsa-tl-boxes i").count() == 4


def test_steps_are_reached_with_the_keyboard(page: Any) -> None:
    _send(page, 0, ROWS, reset=True)
    slider = page.get_by_role("slider", name="Step of the engine").first
    slider.focus()
    page.keyboard.press("ArrowRight")
    assert slider.get_attribute("aria-valuetext").startswith("step 2 of 2")
    page.keyboard.press("Home")
    assert slider.get_attribute("aria-valuetext").endswith("#1: 30 prompt tokens")


def test_static_batching_can_be_looked_at_and_says_that_it_is_computed(page: Any) -> None:
    _send(page, 0, ROWS, reset=True)
    assert not page.get_by_role("button", name="static, computed").first.is_visible()
    rows = [["lane", 1, 0.0, "why"], ["state", 1, 0.5, "running", ""], ["rounds", 1, 0.5, 0.9, 4, 0, 0, 4]]
    page.evaluate("rows => model.emit({ type: 'computed', rows })", [*rows, ["held", 1, 0.9, 1.4]])
    button = page.get_by_role("button", name="static, computed").first
    button.focus()
    page.keyboard.press("Enter")
    assert button.get_attribute("aria-pressed") == "true"
    out = page.locator("#out")
    assert "Computed, not run: 1 running" in out.inner_text()
    assert "slot held until the batch ends" in out.inner_text()
    page.get_by_role("button", name="continuous, recorded").first.click()
    assert "Computed" not in out.inner_text()
