"""The playground's page in a real browser: sliders redraw by themselves, tokens are chosen by mouse and by keys."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ipywidgets import Widget

from exsa_lab import loading
from exsa_lab.testing import ScriptedModel, scripted_engine
from exsa_lab.widgets.playground import Playground, play
from tests.widgets.widget_page import CONTRAST, load

pytestmark = pytest.mark.browser

PIECES = [" sea", " <b>sky</b>", "\n", " rain", " snow", " wind", ".", " and", " of", " the"]


@pytest.fixture
def view() -> Iterator[Playground]:
    target = ScriptedModel(PIECES, lambda _: [0.30, 0.25, 0.15, 0.1, 0.08, 0.05, 0.03, 0.02, 0.01, 0.01])
    draft = ScriptedModel(PIECES, lambda _: [0.10, 0.45, 0.05, 0.2, 0.08, 0.05, 0.03, 0.02, 0.01, 0.01])
    loading.use(scripted_engine(target, draft))
    view = play(" the sea", chat=False)
    for token in (0, 3, 9):
        view.choose(token)
    view.back(2)
    view.choose(1)
    yield view
    loading.unload()
    Widget.close_all()


def numbers(page: Any, token: str) -> list[str]:
    row = page.locator("button.exsa-pl-row").filter(has_text=token).first
    return [str(text) for text in row.locator(".exsa-pl-number").all_inner_texts()]


def last_sent(page: Any) -> Any:
    return page.evaluate("model.sent.at(-1)")


def test_a_slider_redraws_at_once_what_python_computes(page: Any, view: Playground) -> None:
    load(page, view)
    assert numbers(page, " rain") == ["0.100", "0.100", "0.200"]
    page.get_by_label("temperature").fill("0.5")
    view.temperature = 0.5
    assert numbers(page, " rain") == ["0.100", f"{view.p().probability(3):.3f}", f"{view.q().probability(3):.3f}"]
    page.get_by_label("top-k").fill("2")
    assert numbers(page, " rain")[1] == "cut"
    assert "leaves 2 of 10 tokens" in page.locator(".exsa-pl-words").inner_text()
    assert page.evaluate("model.sent.length") == 0
    page.get_by_label("temperature").fill("0")
    assert numbers(page, " sea")[1] == "1.000"


def test_tokens_are_chosen_and_gone_back_to_with_keys(page: Any, view: Playground) -> None:
    load(page, view)
    root = page.locator(".exsa-play")
    root.focus()
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    assert last_sent(page) == {"type": "choose", "at": 4, "value": 1}
    page.keyboard.press("ArrowLeft")
    assert page.evaluate("model.saved.at(-1).at") == 1
    chosen = page.locator("button.exsa-pl-row").filter(has_text="✓")
    assert chosen.count() == 1
    assert chosen.get_attribute("aria-label").endswith(", chosen")
    chosen.click()  # the token that is there: no message, only a place
    assert page.evaluate("model.sent.length") == 1
    assert page.evaluate("model.data.at") == 4


def test_text_is_forced_and_drawn_by_messages(page: Any, view: Playground) -> None:
    load(page, view)
    page.get_by_label("Go on with this text").fill(" and so on")
    page.keyboard.press("Enter")
    assert last_sent(page) == {"type": "force", "at": 4, "value": " and so on"}
    page.get_by_role("button", name="draw from p").click()
    assert last_sent(page)["type"] == "draw"
    page.get_by_role("button", name="draft and test").click()
    assert last_sent(page)["type"] == "propose"
    page.evaluate("model.set('said', 'The draft draws <i>sky</i>.')")
    assert page.get_by_role("status").inner_text() == "The draft draws <i>sky</i>."


def test_branches_are_listed_and_switched(page: Any, view: Playground) -> None:
    load(page, view)
    branches = page.locator(".exsa-pl-branches button")
    assert branches.count() == 2
    assert branches.nth(1).get_attribute("aria-pressed") == "true"
    branches.nth(0).click()
    assert page.evaluate("[model.data.at, model.data.tip]") == [3, 3]
    assert " the" in page.locator(".exsa-pl-text").inner_text()
    page.locator(".exsa-pl-token").nth(1).click()
    assert page.evaluate("[model.data.at, model.data.tip]") == [1, 3]


def test_texts_are_text_and_an_unread_place_says_so(page: Any, view: Playground) -> None:
    load(page, view)
    assert page.locator(".exsa-pl-text b:not(.exsa-pl-cursor), .exsa-pl-name b").count() == 0
    assert "<b>sky</b>" in page.locator(".exsa-pl-text").inner_text()
    page.evaluate("model.set('places', {})")
    assert "is read by the kernel" in page.locator(".exsa-play").inner_text()


@pytest.mark.parametrize("width", [900, 2000])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_reads_in_both_themes_at_any_width(page: Any, view: Playground, scheme: str, width: int) -> None:
    view.top_k = 5
    page.emulate_media(color_scheme=scheme)
    page.set_viewport_size({"width": width, "height": 820})
    load(page, view)
    assert page.locator(".exsa-play").evaluate(CONTRAST) == []
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    if folder := os.environ.get("EXSA_SHOTS"):
        page.screenshot(path=Path(folder) / f"play-{scheme}-{width}.png")
