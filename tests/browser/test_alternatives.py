"""Bars, branches and colours in a real JupyterLab, with the real default pair, seen as a user sees them."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
from playwright.sync_api import Locator, expect

from tests.browser.lab import WAIT_MS, Notebook, Server

pytestmark = [pytest.mark.browser, pytest.mark.real]

Open = Callable[..., Notebook]
LOAD = "%load_ext exsa_lab\n%exsa_load"
ASK = "%%exsa --max-tokens 40 --draft-length 3 --top-logprobs 5\nWhat is photosynthesis?"
LONG = "%%exsa --max-tokens 3000 --temperature 1.2 --seed 1 --no-chat --top-logprobs 3 --background\nOnce upon a time"


_CONTRAST = """
(element) => {
  const context = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
  const read = (colour) => {  // any way to write it, mixtures included
    context.clearRect(0, 0, 1, 1); context.fillStyle = colour; context.fillRect(0, 0, 1, 1);
    return [...context.getImageData(0, 0, 1, 1).data];
  };
  const light = (colour) => colour.slice(0, 3)
    .map((v) => ((v /= 255) <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4))
    .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
  let behind = element;
  while (behind.parentElement && read(getComputedStyle(behind).backgroundColor)[3] === 0) behind = behind.parentElement;
  const back = read(getComputedStyle(behind).backgroundColor);
  let opacity = 1;
  for (let at = element; at; at = at.parentElement) opacity *= Number(getComputedStyle(at).opacity);
  const front = read(getComputedStyle(element).color).map((v, i) => v * opacity + back[i] * (1 - opacity));
  const [a, b] = [light(front), light(back)].sort((x, y) => y - x);
  return (a + 0.05) / (b + 0.05);
}
"""


def _contrast(locator: Locator) -> float:
    return float(locator.evaluate(_CONTRAST))


def other_word(strip: Locator) -> Locator:
    """The first alternative in the tooltip whose text has letters, so that it can be found again."""
    return strip.locator("button.exsa-alt").filter(has_text=re.compile("[a-z]{2}")).first


def test_a_click_and_the_keyboard_branch_and_all_of_it_is_saved(notebook: Open, server: Server) -> None:
    lab = notebook(LOAD, ASK, "print(_exsa.text)")
    lab.run(0, 1, 2)
    original = lab.output(2).inner_text().strip()
    strip, tip = lab.strip(1), lab.strip(1).locator(".exsa-tip")
    tabs = strip.locator(".exsa-tab")
    text = strip.locator(".exsa-text")
    strip.get_by_label("rejected tokens").select_option("hidden")

    strip.locator(".exsa-text .exsa-tok:not(.x, .d)").nth(6).hover()
    expect(tip.locator(".exsa-alt")).to_have_count(5)
    expect(tip).to_contain_text(re.compile(r"surprisal [\d.]+ bits, entropy [\d.]+ bits"))
    other_word(strip).click()
    expect(tabs).to_have_count(2, timeout=WAIT_MS)
    expect(strip.locator(".exsa-state")).to_contain_text("finished", timeout=WAIT_MS)
    expect(tabs.nth(1)).to_have_attribute("aria-selected", "true")
    branch = text.inner_text()
    assert branch != original

    # The keyboard does the same, on the branch.
    strip.locator(".exsa-text .exsa-tok:not(.x, .d)").nth(10).focus()
    lab.page.keyboard.press("Enter")
    expect(tip.locator("button.exsa-alt:focus")).to_have_count(1)
    lab.page.keyboard.press("ArrowDown")
    lab.shot("alternatives-keyboard", 1, also=tip)
    lab.page.keyboard.press("Enter")
    expect(tabs).to_have_count(3, timeout=WAIT_MS)
    expect(tabs.nth(2)).to_be_focused()
    expect(strip.locator(".exsa-state")).to_contain_text("finished", timeout=WAIT_MS)
    second = text.inner_text()
    assert second not in (branch, original)
    expect(lab.cell(1)).to_have_count(1)  # no other cell was begun by the keys
    lab.page.keyboard.press("Home")
    expect(tabs.nth(0)).to_be_focused()

    strip.get_by_label("colour").select_option("surprisal")
    for theme in ("light", "dark"):
        lab.set_theme(theme)
        for width in (900, 2000):
            lab.page.set_viewport_size({"width": width, "height": 900})
            tabs.nth(1).click()
            strip.locator(".exsa-text .exsa-tok:not(.x, .d)").nth(9).hover()
            expect(tip).to_be_visible()
            for part in (".exsa-alt-text", ".exsa-alt-number", ".exsa-alt-key", ".exsa-tip-measures"):
                assert _contrast(tip.locator(part).first) >= 4.5, (theme, part)
            for level in ("1", "2", "3", "4"):
                for token in strip.locator(f".exsa-text [data-level='{level}']:not(.current)").all()[:2]:
                    assert _contrast(token) >= 4.5, (theme, level)
            for tab in tabs.all():
                assert _contrast(tab) >= 4.5
            for swatch in strip.locator(".exsa-swatch").all():
                assert _contrast(swatch) >= 4.5
            lab.shot(f"alternatives-{theme}-{width}")
            lab.page.mouse.move(5, 5)
            expect(tip).to_be_hidden()
    lab.page.set_viewport_size({"width": 1280, "height": 900})
    strip.get_by_label("colour").select_option("none")

    saved = lab.save()
    [data] = [out["data"] for out in saved.cells[1].outputs]
    for part in ("Branch 1 at token", "Branch 2 at token", "Alternatives: what else might have come"):
        assert part in data["text/html"]
    assert "Branch 2 at token" in data["text/plain"]
    server.stop_kernels()
    lab.open()
    for theme in ("light", "dark"):
        lab.set_theme(theme)
        output = lab.output(1)
        expect(output).to_contain_text("Branch 1 at token")
        output.locator("summary", has_text="Alternatives").click()
        expect(output.locator("pre")).to_contain_text("█")
        assert _contrast(output.locator("pre")) >= 4.5
        lab.shot(f"alternatives-static-{theme}", 1)
        output.locator("summary", has_text="Alternatives").click()


def test_a_running_background_cell_branches(notebook: Open) -> None:
    lab = notebook(LOAD, LONG, "%exsa_cancel all")
    lab.run(0, 1)
    strip = lab.strip(1)
    expect(strip.locator(".exsa-text .exsa-tok:not(.x, .d)").nth(12)).to_be_visible(timeout=WAIT_MS)
    strip.locator(".exsa-text .exsa-tok:not(.x, .d)").nth(4).click()  # which keeps its tooltip, whatever comes
    strip.locator("button.exsa-alt").first.click()
    tabs = strip.locator(".exsa-tab")
    expect(tabs).to_have_count(2, timeout=WAIT_MS)
    expect(strip.locator(".exsa-state")).to_contain_text("running")
    # Both go on, and Stop is that of the one that is shown.
    strip.locator(".exsa-stop").click()
    expect(strip.locator(".exsa-state")).to_contain_text("cancelled", timeout=WAIT_MS)
    tabs.nth(0).click()
    expect(strip.locator(".exsa-state")).to_contain_text("running")
    lab.shot("alternatives-background", 1)
    lab.run(2)
    expect(strip.locator(".exsa-state")).to_contain_text("cancelled", timeout=WAIT_MS)
