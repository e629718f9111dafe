"""A trace at the end of a cell: one line, and a picture of its rounds."""

from __future__ import annotations

import base64
import re
from dataclasses import replace

import pytest

from exsa_lab.events import RejectedEvent, Rejection, RoundEvent, Source, State, StateEvent, TokenEvent
from exsa_lab.trace.picture import MAX_COLUMNS
from exsa_lab.trace.trace import Trace


def _round(number: int, accepted: int, drafted: int) -> list[TokenEvent | RejectedEvent | RoundEvent]:
    tokens: list[TokenEvent | RejectedEvent | RoundEvent] = [
        TokenEvent(0, 1, "a", Source.ACCEPTED, 0.5, 0.5, None, number) for _ in range(accepted)
    ]
    tokens.append(TokenEvent(0, 1, "a", Source.RESAMPLED, 0.5, None, None, number))
    tokens += [RejectedEvent(0, 2, "b", Rejection.REFUSED, 0.1, 0.5, None, number)] * (drafted - accepted)
    return [*tokens, RoundEvent(number, drafted, accepted, drafted + 1, 1, 0.0, 0.1, 0.0)]


@pytest.fixture
def trace() -> Trace:
    events = [*_round(0, 3, 4), *_round(1, 0, 2), StateEvent(State.FINISHED, "stop")]
    return Trace(events, prompt="<b>Why</b>\x1b[31m?" + " word" * 40, stats={"tokens_per_second": 12.34})


def _svg(html: str) -> str:
    return base64.b64decode(re.findall(r"base64,([^\"]+)", html)[0]).decode()


def test_the_line_says_what_was_generated_and_is_short(trace: Trace) -> None:
    text = repr(trace)
    assert text.startswith(
        "Trace(5 tokens in 2 rounds, 3 of 6 drafted accepted, 12.3 tok/s (one run), finished, prompt '<b>Why"
    )
    assert "\x1b" not in text
    assert len(text) < 200


def test_the_picture_has_a_column_for_each_round(trace: Trace) -> None:
    svg = _svg(trace._repr_html_())
    assert len(set(re.findall(r' x="(\d+)"', svg))) == 2
    assert svg.count("url(#w)") == 2


def test_texts_are_escaped(trace: Trace) -> None:
    html = trace._repr_html_()
    assert "&lt;b&gt;Why" in html
    assert "<b>" not in html


def test_long_runs_stay_small(trace: Trace) -> None:
    long = replace(trace, events=[event for number in range(5000) for event in _round(number, 3, 4)])
    html = long._repr_html_()
    assert len(set(re.findall(r' x="(\d+)"', _svg(html)))) <= MAX_COLUMNS
    assert len(html) < 60_000


def test_a_run_without_any_round() -> None:
    empty = Trace([])
    assert repr(empty) == "Trace(0 tokens in 0 rounds, nothing drafted)"
    assert "<svg" in _svg(empty._repr_html_())
