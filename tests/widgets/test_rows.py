"""Events become compact rows and headline numbers; nothing in a text can act on the page or the terminal."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import pytest

from exsa_lab.engine.stats import Stats
from exsa_lab.events import RejectedEvent, Rejection, RoundEvent, Source, State, StateEvent, TokenEvent
from exsa_lab.widgets.rows import TOKEN_KINDS, Tally, to_rows, visible
from tests.widgets.fake import PROSE, refused, round_event, speculative_rounds, split_tokens, token


def test_a_token_row_holds_what_the_tooltip_shows() -> None:
    event = token(4, " the", Source.ACCEPTED, token_id=260, p=0.934567, q=0.5, u=0.25, round=7)

    assert to_rows([event]) == [["a", 260, " the", 0.9346, 0.5, 0.25, 7]]


def test_every_source_and_rejection_has_its_own_kind() -> None:
    events = [token(0, "x", source) for source in Source] + [refused(0, "x", reason=reason) for reason in Rejection]

    assert sorted(row[0] for row in to_rows(events)) == sorted(TOKEN_KINDS)


def test_a_round_row_adds_up_the_step() -> None:
    assert to_rows([round_event(3, 4, 2, 1.25)]) == [["R", 3, 4, 2, 29.0, 1.25, "fixed by user", "model", 1, None]]


def test_rows_keep_the_order_of_the_events_and_drop_the_rest() -> None:
    events = [StateEvent(State.RUNNING), refused(0, "a"), token(0, "b"), round_event(1, 1, 0, 0.1)]

    assert [row[0] for row in to_rows(events)] == ["x", "t", "R"]


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_rows_are_strict_json_whatever_the_numbers(value: float) -> None:
    rows = to_rows([token(0, "a", p=value, q=value, u=value), round_event(1, 1, 0, value)])

    json.dumps(rows, allow_nan=False)
    assert rows[0][3:6] == [None, None, None]


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain, \u00e9 \u4f60 \U0001f600\n\tx", "plain, \u00e9 \u4f60 \U0001f600\n\tx"),
        ("\x1b[31mred\x07", "\u241b[31mred\u2407"),
        ("a\rb\x00\x7f", "a\u240db\u2400\u2421"),
        ("\x9b31m", "⟨U+009B⟩31m"),
        ("abc\u202edef\u2066", "abc⟨U+202E⟩def⟨U+2066⟩"),
        ("a\u200bb\ufeff\u2028", "a⟨U+200B⟩b⟨U+FEFF⟩⟨U+2028⟩"),
        ("\U000e0041", "⟨U+E0041⟩"),
        ("\udc80\ufffd", "\ufffd\ufffd"),
        ("\u0645\u06cc\u200c\u062e \U0001f468\u200d\U0001f469", "\u0645\u06cc\u200c\u062e \U0001f468\u200d\U0001f469"),
        ("<script>", "<script>"),
    ],
)
def test_control_and_hidden_characters_become_visible(text: str, shown: str) -> None:
    assert visible(text) == shown
    visible(text).encode()


def _tally(*events: TokenEvent | RejectedEvent | RoundEvent | StateEvent) -> Tally:
    tally = Tally()
    tally.add(events)
    return tally


def test_tally_equals_a_count_by_hand() -> None:
    events = [event for batch in speculative_rounds(split_tokens(PROSE)) for event in batch]
    tokens = [event for event in events if isinstance(event, TokenEvent)]
    rounds = [event for event in events if isinstance(event, RoundEvent)]

    head = _tally(*events).head()  # type: ignore[arg-type]

    assert head["generated"] == len(tokens)
    assert head["rejected"] == sum(isinstance(event, RejectedEvent) for event in events)
    assert head["acceptance"] == pytest.approx(sum(r.accepted for r in rounds) / sum(r.k for r in rounds), rel=1e-3)
    assert head["per_round"] == pytest.approx(len(tokens) / len(rounds), rel=1e-3)
    assert head["tok_s"] == pytest.approx((len(tokens) - 1) / (rounds[-1].time_s - rounds[0].time_s), rel=1e-3)
    assert (head["ttft_s"], head["k"], head["state"], head["final"]) == (0.2, 4, "finished", True)


def test_speed_and_ttft_come_from_the_statistics_where_given() -> None:
    head = _tally(token(0, "a"), round_event(0, 0, 0, 0.5)).head(Stats(generated_tokens=11, decode_s=2.0, ttft_s=0.25))

    assert (head["tok_s"], head["ttft_s"]) == (5.0, 0.25)


def test_a_speed_says_that_it_is_of_one_run_and_whether_the_machine_was_busy() -> None:
    rounds = [replace(round_event(n, 0, 0, 0.1 * n), verify_s=0.01 + 0.004 * (n % 2)) for n in range(20)]
    assert _tally(*rounds).head()["sure"] == "so far"
    over = _tally(*rounds, StateEvent(State.FINISHED))
    assert over.head()["sure"] == "one run, machine busy: neighbouring steps differ by 40 %"


def test_an_empty_tally_has_a_header_too() -> None:
    head = Tally().head()

    assert (head["state"], head["generated"], head["acceptance"], head["k"]) == ("waiting", 0, None, None)


@pytest.mark.parametrize(
    ("state", "detail", "summary"),
    [
        (State.FINISHED, "stop", "1 of 2 tokens came from accepted drafts; 1 draft token rejected."),
        (State.CANCELLED, "", "Cancelled. 1 of 2 tokens came from accepted drafts; 1 draft token rejected."),
        (
            State.FAILED,
            "no room\x1b[0m.",
            "Failed: no room\u241b[0m. 1 of 2 tokens came from accepted drafts; 1 draft token rejected.",
        ),
        (
            State.FINISHED,
            "length",
            "1 of 2 tokens came from accepted drafts; 1 draft token rejected. Stopped at the token limit.",
        ),
    ],
)
def test_the_summary_says_how_it_went(state: State, detail: str, summary: str) -> None:
    events = [token(0, "a", Source.ACCEPTED), refused(1, "b"), token(1, "c", Source.RESAMPLED)]

    assert _tally(*events, StateEvent(state, detail)).head()["summary"] == summary


def test_the_summary_of_plain_decoding_and_of_nothing() -> None:
    assert _tally(token(0, "a")).summary() == "1 token from the target alone, nothing was drafted."
    assert Tally().summary() == "No tokens."
