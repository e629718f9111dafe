"""The static views carry the whole content, well formed, without script, and need neither widget nor kernel."""

from __future__ import annotations

import subprocess
import sys
from html.parser import HTMLParser

import pytest

from exsa_lab.engine.stats import Stats
from exsa_lab.events import Event, Rejection, Source, State, StateEvent
from exsa_lab.widgets import static
from exsa_lab.widgets.scripts import in_view
from exsa_lab.widgets.static import static_html, static_text
from exsa_lab.widgets.static_runs import MARK
from tests.widgets.fake import PROSE, refused, round_event, speculative_rounds, split_tokens, token

HOSTILE = [
    "<script>alert(1)</script>",
    "</div></exsa-view><img src=x onerror=alert(1)>",
    "\"' onmouseover='alert(1)",
    "\x1b[2J\x1b]0;title\x07",
    "\u202ereversed",
    "&lt;b&gt;&#60;",
    "\udcff\ufffd",
    "",
    "$x^2$",
]


class Checker(HTMLParser):
    """Collects text, tags and attributes; raises where a tag is not closed in order."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: set[str] = set()
        self.attributes: set[str] = set()
        self.titles: list[str] = []
        self.text = ""
        self.feed(html)
        self.close()
        assert not self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.open.append(tag)
        self.tags.add(tag)
        self.attributes |= {name for name, _ in attrs}
        self.titles += [value or "" for name, value in attrs if name == "title"]

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def _speculative() -> list[Event]:
    return [event for batch in speculative_rounds(split_tokens(PROSE)) for event in batch]


def _plain(texts: list[str]) -> list[Event]:
    return [*(token(i, text) for i, text in enumerate(texts)), StateEvent(State.FINISHED, "stop")]


def test_html_is_well_formed_and_has_no_script() -> None:
    checker = Checker(in_view(static_html(_speculative()), "abc"))

    assert checker.tags == {"exsa-view", "div", "span", "s", "sup", "details", "summary", "ul", "li"}
    assert checker.attributes == {"class", "style", "title", "dir", "data-view", "role", "aria-label"}


def test_html_shows_the_text_with_its_white_space() -> None:
    html = static_html(_plain(split_tokens(PROSE)))

    assert PROSE in Checker(html).text
    assert "white-space:pre-wrap" in html


def test_html_escapes_hostile_text_everywhere() -> None:
    events: list[Event] = [token(i, text) for i, text in enumerate(HOSTILE)]
    events += [refused(0, text) for text in HOSTILE]
    events.append(StateEvent(State.FAILED, "<script>alert(2)</script>"))

    checker = Checker(static_html(events, title="<b onclick=x>"))

    assert checker.tags == {"div", "span", "s", "sup", "details", "summary", "ul", "li"}
    assert not any(name.startswith("on") for name in checker.attributes)
    assert "<script>alert(1)</script>" in checker.text
    assert "<script>alert(2)</script>" in checker.text
    assert "\x1b" not in checker.text
    assert "\u202e" not in checker.text


@pytest.mark.parametrize(
    ("event", "mark"),
    [
        (token(0, "w", Source.ACCEPTED), "border-bottom:2px solid"),
        (token(0, "w", Source.BONUS), "border-bottom:3px double"),
        (token(0, "w", Source.RESAMPLED), "border-bottom:2px dotted"),
        (refused(0, "w"), "<s style"),
        (refused(0, "w", reason=Rejection.DISCARDED), "font-style:italic"),
    ],
)
def test_marks_differ_in_more_than_colour(event: Event, mark: str) -> None:
    others = [token(0, "w"), token(0, "w", Source.ACCEPTED), token(0, "w", Source.BONUS), token(0, "w")]

    assert mark in static_html([event])
    assert all(mark not in static_html([other]) for other in others if other.source != getattr(event, "source", None))


def test_tooltips_say_where_a_token_came_from() -> None:
    event = token(0, " the", Source.ACCEPTED, token_id=260, p=0.9, q=0.8, u=0.3, round=7)

    titles = Checker(static_html([event, round_event(7, 4, 3, 1.5)])).titles

    assert '" the" id 260 · accepted · p 0.9 · q 0.8 · u 0.3 · round 7: 3 of 4 accepted, 29 ms, at 1.50 s' in titles[0]


def test_a_probability_that_was_not_computed_is_said_so() -> None:
    titles = Checker(
        static_html([token(0, "plain", p=None), refused(1, "x", reason=Rejection.DISCARDED, p=None)])
    ).titles

    assert titles[1] == "rejected here: “x” discarded"
    assert '"plain" id 100 · target · p not computed · round 0' in titles[0]
    assert "not computed" not in titles[2]


def test_the_space_before_a_word_is_not_underlined() -> None:
    assert "</div> <span" not in static_html([token(0, " the", Source.ACCEPTED)])
    assert "> <span" in static_html([token(0, " the", Source.ACCEPTED)])
    assert ">the</span>" in static_html([token(0, " the", Source.ACCEPTED)])


def test_a_rejected_line_break_does_not_break_the_line() -> None:
    assert "\n" not in Checker(static_html([refused(0, "\n\nThe")])).text


def test_words_stay_whole_and_what_was_rejected_inside_is_listed() -> None:
    events: list[Event] = [
        token(0, "a st"),
        refused(1, "ale lighthouse."),
        refused(2, "\n", reason=Rejection.DISCARDED),
        token(1, "urdy", Source.RESAMPLED),
        token(2, " one"),
    ]
    html = static_html(events)
    text = Checker(html).text
    assert f"a st{MARK}urdy one" in text
    assert "2 rejected draft tokens" in text
    assert "…a stale lighthouse.↵ → urdy" in text
    assert html.partition("<details")[2].partition("</details>")[0].count("<s ") == 2
    assert 'aria-label="rejected here: “ale lighthouse.” refused, “↵” discarded"' in html


def test_a_text_without_drafts_has_no_list_of_rejected_ones() -> None:
    assert "rejected" not in static_html(_plain(["a", "b"]))


def test_beyond_the_detailed_tokens_there_is_still_a_mark(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(static, "MAX_DETAILED_TOKENS", 1)
    events: list[Event] = [token(0, "a"), token(1, "b"), refused(2, "x"), token(2, "c"), token(3, "d")]
    assert f"ab{MARK}cd" in Checker(static_html(events)).text


def test_long_runs_lose_their_tooltips_but_not_their_text(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(static, "MAX_DETAILED_TOKENS", 10)
    pieces = split_tokens(PROSE)

    checker = Checker(static_html(_plain(pieces)))

    assert PROSE in checker.text
    assert sum(" id " in title for title in checker.titles) == 10


def test_numbers_and_summary_are_there() -> None:
    text = Checker(static_html(_speculative(), Stats(generated_tokens=98, decode_s=2.0, ttft_s=0.2))).text

    assert "48.5 tok/s (one run)" in text
    assert "of 98 tokens came from accepted drafts" in text


def test_text_is_the_text_and_one_line_about_it() -> None:
    text, _, note = static_text(_speculative()).rpartition("\n\n")

    assert text == PROSE
    assert note.startswith("[finished · ")
    assert "draft tokens rejected.]" in note


def test_text_of_a_hostile_generation_has_no_control_characters() -> None:
    text = static_text(_plain(HOSTILE))

    assert all(char == "\n" or char.isprintable() for char in text)
    text.encode()


def test_an_empty_generation_has_both_views() -> None:
    assert "waiting" in static_text([])
    assert "waiting" in Checker(static_html([])).text


def test_static_views_do_not_import_the_widget_libraries() -> None:
    code = (
        "import sys; from exsa_lab.widgets import static_html; static_html([]);"
        "sys.exit(bool({'anywidget', 'ipywidgets', 'IPython'} & set(sys.modules)))"
    )

    assert subprocess.run([sys.executable, "-c", code], check=False, timeout=240).returncode == 0
