"""The strip's page side in a real browser, with a hand-made model instead of JupyterLab."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from exsa_lab.events import Event, Source, State, StateEvent
from exsa_lab.widgets.rows import to_rows
from exsa_lab.widgets.scripts import in_view
from exsa_lab.widgets.static import static_html
from tests.widgets.fake import PROSE, refused, round_event, speculative_rounds, split_tokens, token
from tests.widgets.strip_page import delta, load, send

pytestmark = pytest.mark.browser


def shown_text(page: Any) -> str:
    return str(page.locator(".exsa-text").evaluate("el => el.innerText"))


def speculative() -> list[Event]:
    return [event for batch in speculative_rounds(split_tokens(PROSE)) for event in batch]


def marked() -> list[Event]:
    """One token of every kind, in one round of a draft of four."""
    values = {"round": 1, "p": 0.6, "q": 0.75, "u": 0.123}
    return [
        token(0, "The", p=0.9),
        round_event(0, 0, 0, 0.1),
        token(1, " sky", Source.ACCEPTED, **values),
        refused(2, " was", p=0.1, q=0.8, u=0.5),
        refused(3, "\n", reason="discarded", p=None, u=None),
        token(2, " is", Source.RESAMPLED, round=1),
        round_event(1, 3, 1, 0.15),
        token(3, " blue", Source.BONUS, round=2),
    ]


def test_tokens_are_appended_and_keep_their_nodes(page: Any) -> None:
    events = speculative()
    load(page)
    send(page, events[:40])
    page.evaluate("window.first = document.querySelector('.exsa-text .exsa-tok')")
    send(page, events[40:], before=events[:40])

    page.get_by_label("rejected tokens").select_option("hidden")
    assert page.evaluate("first === document.querySelector('.exsa-text .exsa-tok') && first.isConnected")
    assert page.locator(".exsa-text").evaluate("el => el.textContent").startswith("The sky")
    page.get_by_label("marks", exact=True).uncheck()
    assert shown_text(page).strip() == PROSE


def test_every_kind_has_a_mark_of_its_own_shape(page: Any) -> None:
    load(page)
    send(page, marked())
    style = """el => { const s = getComputedStyle(el), t = getComputedStyle(el.querySelector("s") ?? el);
      return [s.backgroundImage, s.backgroundSize, t.textDecorationLine, t.textDecorationStyle, t.fontStyle].join()
        .replaceAll(/rgba?\\([^)]*\\)/g, "colour") }"""

    shapes = [page.locator(f".exsa-text .exsa-tok.{kind}").first.evaluate(style) for kind in "tabrxd"]

    assert len(set(shapes)) == 6


def test_the_legend_explains_and_counts(page: Any) -> None:
    load(page)
    send(page, marked())

    legend = page.locator(".exsa-legend").inner_text().split()

    assert legend == ["target", "1", "accepted", "1", "bonus", "1", "resampled", "1", "refused", "1", "discarded", "1"]


def test_the_header_has_the_numbers_and_stop(page: Any) -> None:
    load(page)
    send(page, marked())
    header = page.locator(".exsa-head").inner_text()

    for part in ("waiting", "1 of 3", "drafted accepted", "k = 3 now", "4 tokens", "0.10 s TTFT", "2.00 tok/round"):
        assert part in header.replace("\n", " ")
    assert "interrupt" in page.get_by_role("button", name="Stop").get_attribute("title")
    page.get_by_role("button", name="Stop").click()
    assert page.evaluate("model.sent") == [{"type": "stop", "strand": 0}]
    assert page.get_by_role("button", name="Stopping").is_disabled()

    send(page, [StateEvent(State.CANCELLED)], before=marked())
    assert page.get_by_role("button", name="Stop").count() == 0
    assert page.get_by_text("Cancelled. 1 of 4 tokens came from accepted drafts; 2 draft tokens rejected.").is_visible()


def test_hover_shows_where_a_token_came_from(page: Any) -> None:
    load(page)
    send(page, marked())
    tip = page.get_by_role("tooltip")
    assert tip.count() == 0 or not tip.is_visible()

    page.locator(".exsa-text .a").hover()

    text = tip.inner_text()
    for part in (
        '" sky"',
        "id 101",
        "0.600",
        "0.750",
        "0.123",
        "u < p/q = 0.800",
        "round 1: 1 of 3 accepted",
        "29.0 ms",
    ):
        assert part in text
    assert page.locator(".exsa-text .round").count() == 4
    page.mouse.move(5, 690)
    assert not tip.is_visible()
    assert page.locator(".exsa-text .round").count() == 0


def test_a_probability_that_was_not_computed_is_a_dash(page: Any) -> None:
    load(page)
    send(page, [token(0, "plain", p=None)])
    page.evaluate("document.querySelector('.exsa-text .exsa-tok').focus()")

    text = page.get_by_role("tooltip").inner_text().replace("\n", " ")
    assert "p target \u2013" in text
    assert "p was not computed" in text
    assert page.evaluate("document.activeElement.ariaLabel") == (
        'target token "plain", p was not computed: nobody watched then, round 0'
    )


def test_the_keyboard_moves_from_token_to_token(page: Any) -> None:
    load(page)
    send(page, marked())
    focused = "document.activeElement.textContent"

    page.evaluate("document.querySelector('.exsa-text .exsa-tok').focus()")
    assert page.evaluate("document.activeElement.ariaLabel").startswith('target token "The", p 0.900')
    page.get_by_label("rejected tokens").select_option("text")
    page.evaluate("document.querySelector('.exsa-text .exsa-tok').focus()")
    for key, text in [
        ("ArrowRight", "sky"),
        ("ArrowRight", " was"),
        ("End", "blue"),
        ("ArrowLeft", "is"),
        ("Home", "The"),
    ]:
        page.keyboard.press(key)
        assert page.evaluate(focused) == text
    assert page.locator(".exsa-text [tabindex='0']").count() == 1
    assert page.get_by_role("tooltip").is_visible()
    page.keyboard.press("Escape")
    assert not page.get_by_role("tooltip").is_visible()

    page.get_by_label("rejected tokens").select_option("hidden")
    page.evaluate("document.querySelector('.exsa-text .a').focus()")
    page.keyboard.press("ArrowRight")
    assert page.evaluate(focused) == "is"


IS_THERE = "el => el.checkVisibility()"


def middle_of(mark: Any) -> tuple[float, float]:
    """Where a mark is painted: above the gap between two tokens, where it has no width of its own."""
    left, top = mark.evaluate("el => [el.getBoundingClientRect().x, el.getBoundingClientRect().y]")
    return left, top - 2


def inside_a_word() -> list[Event]:
    return [
        token(0, "a st"),
        refused(1, "ale lighthouse.", p=0.1, q=0.8, u=0.5),
        refused(2, "\n", reason="discarded", p=None, u=None),
        token(1, "urdy", Source.RESAMPLED),
        token(2, " one"),
    ]


def test_words_stay_whole_where_tokens_were_rejected_inside(page: Any) -> None:
    load(page)
    send(page, inside_a_word())
    assert shown_text(page).strip() == "a sturdy one"
    before, after = (page.locator(".exsa-text .exsa-tok").nth(n).bounding_box() for n in (0, 3))
    assert abs(before["x"] + before["width"] - after["x"]) < 1
    mark = page.get_by_role("button", name="2 draft tokens rejected here")
    assert '"ale lighthouse." refused, "\\n" discarded' in mark.get_attribute("aria-label")

    page.mouse.move(*middle_of(mark))
    tip = page.get_by_role("tooltip").inner_text()
    for part in ("ale lighthouse.", "0.800", "u ≥ p/q = 0.125", 'then "\\n" discarded'):
        assert part in tip

    page.mouse.click(*middle_of(mark))
    assert shown_text(page).strip() == "a stale lighthouse.↵urdy one"
    assert mark.get_attribute("aria-expanded") == "true"
    page.mouse.click(*middle_of(mark))
    assert shown_text(page).strip() == "a sturdy one"


def test_rejected_tokens_are_reached_and_opened_with_the_keyboard(page: Any) -> None:
    load(page)
    send(page, inside_a_word())
    page.evaluate("document.querySelector('.exsa-text .exsa-tok').focus()")
    page.keyboard.press("ArrowRight")
    label = "document.activeElement.ariaLabel"
    assert page.evaluate(label).startswith("2 draft tokens rejected here")
    assert page.get_by_role("tooltip").is_visible()
    page.keyboard.press("ArrowRight")
    assert page.evaluate(label).startswith("resampled token")
    page.keyboard.press("ArrowLeft")

    page.keyboard.press("Enter")
    assert page.evaluate(label).startswith('refused token "ale lighthouse."')
    page.keyboard.press("ArrowRight")
    assert page.evaluate(label).startswith('discarded token "\\n"')
    page.keyboard.press("Enter")
    assert page.evaluate(label).startswith("2 draft tokens rejected here")
    assert shown_text(page).strip() == "a sturdy one"


def test_an_opened_run_stays_open_when_the_output_is_drawn_anew(page: Any) -> None:
    load(page)
    send(page, inside_a_word())
    page.mouse.click(*middle_of(page.locator(".exsa-cut")))
    page.evaluate("void widget.render({ model, el: document.body.appendChild(document.createElement('div')) })")
    assert page.locator(".exsa-run.open").count() == 2


def test_a_resampled_token_tells_its_share_of_the_residual(page: Any) -> None:
    load(page)
    drawn = replace(token(0, " is", Source.RESAMPLED, p=0.6, u=0.25), residual=0.75)
    send(page, [refused(0, " was", p=0.1, q=0.8, u=0.5), drawn, token(1, " so")])
    page.locator(".exsa-text .r").hover()
    text = page.get_by_role("tooltip").inner_text().replace("\n", " ")
    assert "residual 0.750" in text
    assert "from the residual" in text
    page.locator(".exsa-text .r").focus()
    assert "residual 0.750" in page.evaluate("document.activeElement.ariaLabel")


def test_arrow_down_goes_to_the_next_line_and_up_comes_back(page: Any) -> None:
    load(page)
    send(page, [token(i, text) for i, text in enumerate(["one", " two", "\n", "three", " four"])])
    page.evaluate("document.querySelectorAll('.exsa-text .exsa-tok')[1].focus()")

    page.keyboard.press("ArrowDown")
    assert page.evaluate("document.activeElement.textContent") == "four"
    page.keyboard.press("ArrowUp")
    assert page.evaluate("document.activeElement.textContent") == "two"


def test_toggles_are_remembered(page: Any) -> None:
    load(page)
    send(page, marked())
    assert page.locator(".exsa-cut").evaluate(IS_THERE)
    page.get_by_label("rejected tokens").select_option("hidden")
    assert not page.locator(".exsa-text .x").is_visible()
    assert shown_text(page).strip() == "The sky is blue"

    load(page)
    send(page, marked())

    assert page.get_by_label("rejected tokens").input_value() == "hidden"
    assert not page.locator(".exsa-text .x").is_visible()
    assert not page.locator(".exsa-cut").evaluate(IS_THERE)


def test_hostile_text_is_text(page: Any) -> None:
    texts = [
        "<script>window.hacked=1</script>",
        "<img src=x onerror='window.hacked=1'>",
        "\x1b[31m",
        "\u202eabc",
        "",
        "\ufffd",
    ]
    events: list[Event] = [token(i, text) for i, text in enumerate(texts)]
    events += [refused(0, text) for text in texts]
    events.append(StateEvent(State.FAILED, "<img src=x onerror='window.hacked=1'>"))
    load(page, body=static_html(events))
    send(page, events)
    for node in page.locator(".exsa-text .exsa-tok").all():
        node.focus()
    page.wait_for_timeout(100)

    assert page.evaluate("window.hacked === undefined")
    assert page.locator("img, .exsa-strip script, #out ~ div script").count() == 0
    assert "<script>window.hacked=1</script>" in shown_text(page)
    assert "\u241b[31m⟨U+202E⟩abc" in shown_text(page)


def test_a_gap_asks_for_what_is_missing(page: Any) -> None:
    events = speculative()
    load(page)
    send(page, events[:20])
    send(page, events[40:60], before=events[:40])
    have = len(to_rows(events[:20]))

    assert page.evaluate("model.sent") == [{"type": "hello", "strand": 0, "have": have}]
    send(page, events[20:], before=events[:20])
    send(page, events[30:], before=events[:30])
    assert page.locator(".exsa-text .exsa-tok").count() == sum(row[0] != "R" for row in to_rows(events))


def test_a_second_view_and_a_snapshot_show_everything(page: Any) -> None:
    message = delta(speculative())
    load(page, snapshot=message)
    page.evaluate("void widget.render({ model, el: document.body.appendChild(document.createElement('div')) })")
    counts = page.evaluate(
        "[...document.querySelectorAll('.exsa-text')].map((el) => el.querySelectorAll('.exsa-tok').length)"
    )

    assert counts == [sum(row[0] != "R" for row in message["rows"])] * 2


def test_a_cut_snapshot_says_so(page: Any) -> None:
    load(page, snapshot={**delta(speculative()), "start": 1234})

    assert page.get_by_text("The first 1,234 entries are not kept.").is_visible()


def test_a_static_output_becomes_live_and_falls_back(page: Any) -> None:
    events = speculative()
    load(page, body=in_view(static_html(events), "one"), snapshot=delta(events), render=False)
    static = page.locator("exsa-view > div").first

    assert page.locator("exsa-view .exsa-text").is_visible()
    assert not static.is_visible()

    page.evaluate("document.body.append(document.querySelector('exsa-view'))")  # moved, as notebooks do
    assert page.locator("exsa-view .exsa-text").count() == 1

    page.evaluate("void release()")
    assert page.locator("exsa-view .exsa-text").count() == 0
    assert static.is_visible()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_and_marks_have_contrast(page: Any, scheme: str) -> None:
    page.emulate_media(color_scheme=scheme)
    load(page)
    send(page, speculative())
    measure = """() => {
      const context = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
      const luminance = (colour) => {
        context.clearRect(0, 0, 1, 1); context.fillStyle = colour; context.fillRect(0, 0, 1, 1);
        return [...context.getImageData(0, 0, 1, 1).data].slice(0, 3)
          .map((v) => ((v /= 255) <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4))
          .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
      };
      const style = (selector) => getComputedStyle(document.querySelector(selector));
      const back = luminance(style(".exsa-strip").backgroundColor);
      const against = (colour) => {
        const [low, high] = [luminance(colour), back].sort((a, b) => a - b);
        return (high + 0.05) / (low + 0.05);
      };
      const text = [".exsa-text .a", ".exsa-text .x", ".exsa-text .d", ".exsa-head", ".exsa-foot", ".exsa-summary"];
      const lines = [".exsa-text .a", ".exsa-text .b", ".exsa-text .r"];
      return {
        text: text.map((s) => against(style(s).color)),
        lines: lines.map((s) => against(style(s).backgroundImage.match(/rgba?\\([^)]*\\)/)[0])),
      };
    }"""

    contrast = page.evaluate(measure)

    assert min(contrast["text"]) >= 4.5
    assert min(contrast["lines"]) >= 3
