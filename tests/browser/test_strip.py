"""A `%%exsa` cell in a real JupyterLab, with the real default pair, seen as a user sees it."""

from __future__ import annotations

import re
import time
from collections.abc import Callable

import nbformat
import pytest
from playwright.sync_api import Locator, expect

from tests.browser.lab import WAIT_MS, Notebook, Server

pytestmark = [pytest.mark.browser, pytest.mark.real]

Open = Callable[..., Notebook]
LOAD = "%load_ext exsa_lab\n%exsa_load"
ASK = "%%exsa --max-tokens 64 --draft-length 3\nWhat is photosynthesis?"
# Random text does not end early, so that there is something to watch and to stop.
LONG = "%%exsa --max-tokens 3000 --draft-length 3 --temperature 1.5 --seed {seed} --no-chat {options}\nOnce upon a time"

HOSTILE = """
%load_ext exsa_lab
import exsa_lab.loading
from exsa_lab.testing import ScriptedModel, scripted_engine

script, image = "<script>window.pwned = 1</script>", "<img src=x onerror='window.pwned = 1'>"
pieces = ["a", script, image, "\\x1b[31mred", b"\\xff\\xfe", "."]
cycle = lambda tokens: [float(i == (tokens[-1] + 1) % 6) for i in range(6)]
exsa_lab.loading.use(scripted_engine(ScriptedModel(pieces, cycle)))
"""


def _watch(notebook: Notebook, index: int, changes: int) -> list[tuple[int, bool]]:
    """Return the first few different token counts of a strip, each with whether the cell was running then."""
    seen: list[tuple[int, bool]] = []
    deadline = time.monotonic() + WAIT_MS / 1000
    while len(seen) < changes and time.monotonic() < deadline:
        now = notebook.progress(index)
        if not seen or now[0] != seen[-1][0]:
            seen.append(now)
        time.sleep(0.05)
    return seen


def _contrast(locator: Locator) -> float:
    """Return the WCAG contrast of an element's text with the background behind it."""
    return float(locator.evaluate(_CONTRAST))


_CONTRAST = """
(element) => {
  const parse = (text) => text.match(/[\\d.]+/g).map(Number);
  const light = (colour) => {
    const [r, g, b] = colour.map((c) => c / 255).map((c) => (c <= 0.03928 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  let behind = element;
  while (behind && (parse(getComputedStyle(behind).backgroundColor)[3] ?? 1) === 0) behind = behind.parentElement;
  const back = parse(getComputedStyle(behind).backgroundColor);
  let opacity = 1;
  for (let at = element; at; at = at.parentElement) opacity *= Number(getComputedStyle(at).opacity);
  const front = parse(getComputedStyle(element).color).slice(0, 3).map((c, i) => c * opacity + back[i] * (1 - opacity));
  const [a, b] = [light(front), light(back.slice(0, 3))].sort((x, y) => y - x);
  return (a + 0.05) / (b + 0.05);
}
"""


def test_tokens_appear_while_the_cell_runs(notebook: Open) -> None:
    lab = notebook(LOAD, LONG.format(seed=1, options=""), "print(len(_exsa.tokens), _exsa.state)")
    lab.run(0)
    lab.start(1)

    seen = _watch(lab, 1, changes=6)

    counts = [count for count, _ in seen]
    assert counts == sorted(counts)
    assert len(set(counts)) == 6
    assert all(is_running for _, is_running in seen)
    expect(lab.strip(1).locator(".exsa-state")).to_contain_text("running")
    lab.shot("running-light")

    # Stop as a user does: the toolbar's interrupt, while the cell is running.
    lab.command("notebook:interrupt-kernel")
    lab.wait(1)
    expect(lab.strip(1).locator(".exsa-state")).to_contain_text("cancelled")
    expect(lab.output(1)).to_contain_text(re.compile(r"Interrupted after \d+ tokens"))
    expect(lab.output(1)).not_to_contain_text("Traceback")
    lab.shot("interrupted-light")

    # What the page shows is what the handle holds, and the kernel goes on.
    lab.run(2)
    expect(lab.output(2)).to_have_text(re.compile(rf"{lab.progress(1)[0]} cancelled"))


def test_marks_tooltip_and_themes(notebook: Open) -> None:
    lab = notebook(LOAD, ASK)
    lab.run(0, 1)
    strip = lab.strip(1)
    expect(strip.locator(".exsa-state")).to_contain_text("finished")
    strip.get_by_label("rejected tokens").select_option("text")
    tip = strip.locator(".exsa-tip")

    for theme in ("light", "dark"):
        lab.set_theme(theme)
        for kind in ("a", "r", "x"):
            token = strip.locator(f".exsa-text .exsa-tok.{kind}").first
            assert _contrast(token) >= (4.5 if kind != "x" else 3.0), (theme, kind)
        strip.locator(".exsa-text .exsa-tok.a").last.hover()
        expect(tip).to_be_visible()
        expect(tip).to_contain_text("p target")
        expect(tip).to_contain_text("q draft")
        expect(tip).to_contain_text(re.compile(r"round \d+: \d of \d accepted"))
        lab.shot(f"tooltip-{theme}")
        lab.shot(f"strip-{theme}", 1, also=tip)
        lab.page.mouse.move(5, 5)
        expect(tip).to_be_hidden()

    # Not by colour alone: the marks differ in their lines and in the word of the legend.
    marks = {k: strip.locator(f".exsa-text .exsa-tok.{k}").first.evaluate(_MARK) for k in ("a", "r", "x")}
    assert len(set(marks.values())) == 3, marks
    for name in ("accepted", "resampled", "refused"):
        expect(strip.locator(".exsa-legend")).to_contain_text(name)


_MARK = r"""
(element) => {
  const parts = [element, ...element.querySelectorAll("*")].map((part) => {
    const style = getComputedStyle(part);
    // The shape of the line, whatever its colour.
    const image = style.backgroundImage.replace(/(rgb|oklab|color)[^)]*\)/g, "");
    return [style.textDecorationLine, style.textDecorationStyle, style.borderBottomStyle, image].join(" ");
  });
  return parts.join("|");
}
"""


def test_keyboard_reads_tokens(notebook: Open) -> None:
    lab = notebook(LOAD, ASK)
    lab.run(0, 1)
    strip = lab.strip(1)

    strip.locator(".exsa-tok").first.focus()
    for _ in range(3):
        lab.page.keyboard.press("ArrowRight")

    focused = strip.locator(".exsa-tok:focus")
    expect(focused).to_have_attribute("aria-label", re.compile(r"token .*, [pq] [\d.]+, .*round \d+"))
    expect(strip.locator(".exsa-tip")).to_be_visible()
    lab.shot("keyboard")
    lab.page.keyboard.press("Escape")
    expect(strip.locator(".exsa-tip")).to_be_hidden()


def test_saved_page_reloads_without_a_kernel(notebook: Open, server: Server) -> None:
    lab = notebook(LOAD, ASK, "print(_exsa.text)")
    lab.run(0, 1, 2)
    text = lab.output(2).inner_text().strip()
    first_words = " ".join(text.split()[:2])

    # A reload with the kernel alive, then what is on the disk with the kernel gone.
    saved = lab.save()
    lab.open()
    expect(lab.output(1)).to_contain_text(first_words)
    server.stop_kernels()
    lab.open()

    for theme in ("light", "dark"):
        lab.set_theme(theme)
        output = lab.output(1)
        expect(output).to_contain_text(first_words)
        expect(output).to_contain_text("drafted accepted")
        expect(output).to_contain_text("refused")
        expect(output).not_to_contain_text(re.compile("widget|error", re.IGNORECASE))
        assert _contrast(output.locator("exsa-view span[title]").first) >= 4.5
        lab.shot(f"static-{theme}")

    [data] = [out["data"] for out in saved.cells[1].outputs]
    assert text in data["text/plain"]
    assert "<script" not in data["text/html"]
    assert "application/vnd.jupyter.widget-view+json" not in data


def test_a_notebook_from_someone_else_shows_its_tokens(notebook: Open, server: Server) -> None:
    lab = notebook(LOAD, ASK)
    lab.run(0, 1)
    content = lab.save()
    # A changed notebook is not trusted: JupyterLab sanitizes its HTML and runs nothing.
    content.cells[1].source += " "
    content.metadata.pop("signature", None)
    for cell in content.cells:
        cell.metadata.pop("trusted", None)
    path = server.root / "from_someone_else.ipynb"
    nbformat.write(content, path)

    other = notebook(path=path)

    output = other.output(1)
    expect(output).to_contain_text("drafted accepted")
    accepted = output.get_by_title(re.compile("accepted")).first
    assert "underline" in accepted.evaluate(_MARK) or "solid" in accepted.evaluate(_MARK)
    other.shot("untrusted")


def test_hostile_output_is_shown_as_text(notebook: Open, server: Server) -> None:
    lab = notebook(HOSTILE, "%%exsa --no-chat --max-tokens 6\na")
    lab.run(0, 1)

    def check() -> None:
        expect(lab.output(1)).to_contain_text("<script>window.pwned = 1</script>")
        expect(lab.output(1)).to_contain_text("<img src=x onerror='window.pwned = 1'>")
        assert lab.page.evaluate("window.pwned") is None

    check()
    lab.shot("hostile")
    lab.save()
    server.stop_kernels()
    lab.open()
    check()


def test_background_cells_stream_and_stop(notebook: Open) -> None:
    asks = [LONG.format(seed=seed, options="--background") for seed in (1, 2, 3, 4)]
    lab = notebook(LOAD, *asks, "%exsa_cancel all")
    lab.run(0, 1, 2, 3, 4)

    # All four cells have ended, and their strips go on growing.
    before = [lab.progress(index) for index in (1, 2, 3, 4)]
    assert not any(is_running for _, is_running in before)
    for index, (count, _) in zip((1, 2, 3, 4), before, strict=True):
        assert _watch(lab, index, changes=3)[-1][0] > count
    lab.shot("background")

    lab.strip(2).locator(".exsa-stop").click()
    expect(lab.strip(2).locator(".exsa-state")).to_contain_text("cancelled", timeout=WAIT_MS)
    for index in (1, 3, 4):
        expect(lab.strip(index).locator(".exsa-state")).to_contain_text("running")
        count = lab.progress(index)[0]
        assert _watch(lab, index, changes=2)[-1][0] > count
    stopped = lab.progress(2)[0]
    lab.shot("background-one-stopped")

    lab.run(5)
    for index in (1, 3, 4):
        expect(lab.strip(index).locator(".exsa-state")).to_contain_text("cancelled", timeout=WAIT_MS)
    assert lab.progress(2)[0] == stopped
