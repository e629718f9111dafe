"""Alternatives, branches and colours of the strip in a real browser, with a hand-made model instead of JupyterLab."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import pytest

from exsa_lab.events import Alternative, Event, Source, State, StateEvent
from exsa_lab.widgets.rows import to_rows
from tests.widgets.fake import refused, round_event, token
from tests.widgets.strip_page import load, send

pytestmark = pytest.mark.browser


def looked_at(position: int, text: str, source: Source = Source.TARGET, bits: float = 1.0, **values: Any) -> Event:
    event = token(position, text, source, **values)
    others = (
        Alternative(70, " green", 0.3, 0.35, None),
        Alternative(71, "<b>bold</b>", 0.2, 0.1, 0.25),
        Alternative(72, "\n", 0.1, 0.1, 0.0),
    )
    own = Alternative(event.token_id, text, 0.4, 0.45, None)
    return replace(event, top=(own, *others), logprob=-bits * 0.6931471805599453, entropy=bits / 2)


def events() -> list[Event]:
    return [
        looked_at(0, "The", bits=0.2),
        round_event(0, 0, 0, 0.1),
        looked_at(1, " sky", Source.ACCEPTED, bits=0.7, round=1),
        refused(2, " was", p=0.1, q=0.8, u=0.5),
        looked_at(2, " is", Source.RESAMPLED, bits=1.5, round=1),
        round_event(1, 3, 1, 0.15),
        looked_at(3, " blue", bits=3.0, round=2),
        looked_at(4, " today", bits=6.0, round=3),
        StateEvent(State.FINISHED, "length"),
    ]


def show(page: Any) -> None:
    load(page)
    send(page, events())


def sent(page: Any) -> list[dict[str, Any]]:
    return list(page.evaluate("model.sent"))


def begin_branch(page: Any, number: int = 1, position: int = 3, label: str = " green", more: str = " as grass") -> None:
    rows = to_rows([token(position, label, Source.CHOSEN), token(position + 1, more), round_event(9, 0, 0, 0.3)])
    head = {"state": "finished", "final": True, "generated": 1, "summary": "1 token from the target alone."}
    message = {"type": "delta", "strand": number, "start": 0, "rows": rows, "head": head}
    message["branch"] = {"parent": 0, "position": position, "label": label}
    page.evaluate("message => model.emit('msg:custom', message)", message)


def text_of(page: Any) -> str:
    return str(page.locator(".exsa-text").evaluate("el => el.textContent"))


def test_bars_show_what_else_might_have_come(page: Any) -> None:
    show(page)
    page.locator(".exsa-text .exsa-tok").last.hover()
    tip = page.locator(".exsa-tip")
    rows = tip.locator(".exsa-alt")
    assert rows.count() == 4
    assert "<b>bold</b>" in tip.inner_text()
    assert tip.locator("b b").count() == 0
    assert "surprisal 6.00 bits, entropy 3.00 bits" in tip.inner_text()
    assert "0.200 → 0.100" in tip.inner_text()
    widths = [float(w) for w in rows.locator("i.raw").evaluate_all("els => els.map(el => parseFloat(el.style.width))")]
    assert widths == pytest.approx([40, 30, 20, 10])
    assert tip.locator("button.exsa-alt").count() == 3
    assert tip.locator(".exsa-alt.own").count() == 1


KEEP_HINTS = """() => {
    window.hints = [];
    const hint = () => document.querySelector(".exsa-hint").textContent;
    new MutationObserver(() => hints.push(hint())).observe(document, { subtree: true, childList: true });
}"""
"""A hint is there for a moment, which a slow machine would miss."""


def test_a_click_asks_for_a_branch_and_its_tab_shows_what_came(page: Any) -> None:
    show(page)
    page.locator(".exsa-text .exsa-tok", has_text="blue").hover()
    green = page.locator(".exsa-alt", has_text="green")
    green.hover()  # on the way there the tooltip stays
    page.wait_for_timeout(600)
    page.evaluate(KEEP_HINTS)
    green.click()
    assert sent(page) == [{"type": "branch", "strand": 0, "position": 3, "token": 70}]
    page.locator(".exsa-hint", has_text="The kernel is busy").wait_for()
    assert page.evaluate("hints.filter((text) => text)[0]") == "Branching …"

    begin_branch(page)
    tabs = page.locator(".exsa-tab")
    assert tabs.all_inner_texts() == ["original", "1: “green”"]
    assert tabs.nth(1).get_attribute("aria-selected") == "true"
    assert text_of(page) == "The sky was is green as grass"
    assert page.locator(".exsa-text").count() == 1
    assert "1 token from the target alone" in page.locator(".exsa-summary").inner_text()
    assert page.locator(".exsa-hint").inner_text() == "Branch 1 begins."

    tabs.nth(0).click()
    assert text_of(page) == "The sky was is blue today"
    # What is left of a branch can be left again: positions count what it shares.
    tabs.nth(1).click()
    page.locator(".exsa-text .exsa-tok", has_text="sky").hover()
    page.locator(".exsa-alt", has_text="green").click()
    assert sent(page)[-1] == {"type": "branch", "strand": 1, "position": 1, "token": 70}


def test_the_keyboard_does_the_same(page: Any) -> None:
    show(page)
    page.locator(".exsa-text .exsa-tok").first.focus()
    for key in ("ArrowRight", "ArrowRight", "ArrowRight", "Enter"):
        page.keyboard.press(key)
    assert "green" in page.evaluate("document.activeElement.getAttribute('aria-label')")
    page.keyboard.press("ArrowDown")
    assert "bold" in page.evaluate("document.activeElement.getAttribute('aria-label')")
    page.keyboard.press("Escape")
    assert page.evaluate("document.activeElement.textContent") == " is"[1:]
    page.keyboard.press("Enter")
    page.keyboard.press("Enter")
    assert sent(page) == [{"type": "branch", "strand": 0, "position": 2, "token": 70}]
    begin_branch(page, position=2)
    assert page.evaluate("document.activeElement.getAttribute('role')") == "tab"
    page.keyboard.press("ArrowLeft")
    assert page.evaluate("document.activeElement.textContent") == "original"
    assert text_of(page) == "The sky was is blue today"


def test_a_refusal_is_no_branch(page: Any) -> None:
    show(page)
    page.locator(".exsa-text .exsa-tok", has_text="blue").hover()
    page.locator(".exsa-alt", has_text="green").click()
    page.evaluate("model.data.problem = 'No.'; model.emit('change:problem')")
    assert page.locator(".exsa-hint").inner_text() == ""
    begin_branch(page)
    assert page.locator(".exsa-tab[aria-selected=true]").inner_text() == "original"


def test_colours_show_bits_by_tint_and_by_thickness(page: Any) -> None:
    show(page)
    assert page.locator(".exsa-scale").is_hidden()
    page.get_by_label("colour").select_option("surprisal")
    tokens = page.locator(".exsa-text .exsa-tok:not(.x)")
    levels = tokens.evaluate_all("els => els.map(el => el.dataset.level)")
    assert levels == ["0", "1", "2", "3", "4"]
    sizes = tokens.evaluate_all("els => els.map(el => getComputedStyle(el).backgroundSize)")
    colours = tokens.evaluate_all("els => els.map(el => getComputedStyle(el).backgroundColor)")
    assert len(set(sizes[1:])) == 4
    assert len(set(colours)) == 5
    scale = page.locator(".exsa-scale")
    assert scale.is_visible()
    assert "bits" in (scale.get_attribute("aria-label") or "")
    page.get_by_label("colour").select_option("entropy")
    assert tokens.evaluate_all("els => els.map(el => el.dataset.level)") == ["0", "0", "1", "2", "3"]
    page.get_by_label("colour").select_option("none")
    assert page.locator("[data-level].exsa-tok").count() == 0


def test_without_recorded_alternatives_there_is_no_entropy_and_nothing_to_click(page: Any) -> None:
    load(page)
    send(page, [token(0, "The", p=0.25), token(1, " sky", p=None)])
    assert page.locator("option[value=entropy]").is_disabled()
    page.get_by_label("colour").select_option("surprisal")
    assert page.locator(".exsa-text .exsa-tok").evaluate_all("els => els.map(el => el.dataset.level ?? '')") == [
        "3",
        "",
    ]
    page.locator(".exsa-text .exsa-tok").first.hover()
    assert page.locator(".exsa-alt").count() == 0
    assert re.search(r"surprisal 2\.00 bits", page.locator(".exsa-tip").inner_text())
