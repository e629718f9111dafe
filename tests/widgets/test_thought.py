"""A thought is folded when it is over, in the page and in the saved notebook."""

from __future__ import annotations

from typing import Any

import pytest

from exsa_lab.events import Event
from exsa_lab.prompts.thinking import Thinking
from exsa_lab.widgets.static import static_html
from exsa_lab.widgets.thought import ThoughtTally
from exsa_lab.widgets.token_strip import TokenStrip
from tests.widgets.fake import FakeGeneration, refused, round_event, token
from tests.widgets.strip_page import delta, load

THINKING = Thinking("<think>", "</think>")
OPENED = Thinking("<think>", "</think>", is_open=True, labels=((9, "</think>"),))


def thinking_events() -> list[Event]:
    return [
        token(0, "<think>"),
        round_event(0, 0, 0, 0.5),
        token(1, "Hm, "),
        refused(2, "no"),
        token(2, "yes."),
        round_event(1, 1, 0, 1.25),
        token(3, "</think>"),
        token(4, "Blue"),
        round_event(2, 1, 1, 2.0),
        token(5, " sky"),
    ]


def tally_of(events: list[Event], thinking: Thinking | None = THINKING) -> ThoughtTally:
    tally = ThoughtTally(thinking)
    for event in events:
        tally.add([event])
    return tally


def test_a_thought_is_measured() -> None:
    tally = tally_of(thinking_events())
    assert tally.head() == {"rows": 5, "title": "Thought: 4 tokens, 1.2 s"}


def test_what_is_no_finished_thought_is_not_folded() -> None:
    assert tally_of(thinking_events()[:5]).head() is None
    assert tally_of(thinking_events(), None).head() is None
    assert tally_of([token(0, "I "), token(1, "<think>"), token(2, "</think>")]).head() is None


def test_a_thought_the_prompt_opened_and_a_control_token_closed() -> None:
    end = token(1, "")
    object.__setattr__(end, "token_id", 9)
    tally = tally_of([token(0, "Hm"), end, token(2, "Blue")], OPENED)
    assert tally.thought is not None
    assert tally.thought.rows == 2


def test_the_saved_notebook_folds_it() -> None:
    from exsa_lab.widgets.static import static_views

    page, text = static_views(thinking_events(), thinking=THINKING)
    folded, _, rest = page.partition("</details>")
    answer, _, rejected = rest.partition("<details")
    assert "<details><summary" in folded
    assert "Thought: 4 tokens, 1.2 s" in folded
    assert "yes." in folded
    assert "Blue" in answer
    assert "yes." not in answer
    assert ">no</s>" in rejected
    assert "Hm, yes." in text
    assert "Thought:" not in static_html(thinking_events())


def test_the_strip_tells_the_page(monkeypatch: pytest.MonkeyPatch) -> None:
    gen = FakeGeneration()
    gen.thinking = THINKING
    strip = TokenStrip(gen, start=False)
    sent: list[dict[str, Any]] = []
    monkeypatch.setattr(strip, "send", sent.append)
    strip._deliver(thinking_events()[:4], False)
    strip._deliver(thinking_events()[4:], False)
    assert [message["head"]["thought"] for message in sent] == [None, {"rows": 5, "title": "Thought: 4 tokens, 1.2 s"}]


@pytest.mark.browser
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_folds_a_thought_that_is_over(page: Any, scheme: str) -> None:
    events = thinking_events()
    page.emulate_media(color_scheme=scheme)
    load(page)

    def send(first: int, last: int) -> None:
        message = delta(events[first:last], before=events[:first])
        message["head"]["thought"] = tally_of(events[:last]).head()
        page.evaluate("message => model.emit('msg:custom', message)", message)

    def text() -> str:
        return str(page.locator(".exsa-text").evaluate("el => el.innerText")).strip()

    fold = page.locator(".exsa-fold")
    send(0, 5)
    assert not fold.is_visible()
    assert "yes." in text()
    send(5, 9)
    assert fold.inner_text() == "▸ Thought: 4 tokens, 1.2 s"
    assert fold.get_attribute("aria-expanded") == "false"
    assert text() == "Blue"
    send(9, 10)
    assert text() == "Blue sky"
    fold.focus()
    page.keyboard.press("Enter")
    assert fold.get_attribute("aria-expanded") == "true"
    shows = "words => document.querySelector('.exsa-text').innerText.includes(words)"
    page.wait_for_function(shows, arg="yes.")  # drawn with one of the page's next frames
    fold.click()
    page.wait_for_function(f"words => !({shows})(words)", arg="yes.")
    assert text() == "Blue sky"
    # A second view of the same text, drawn anew.
    page.evaluate("void widget.render({ model, el: document.getElementById('out') })")
    assert page.locator(".exsa-fold").count() == 2
