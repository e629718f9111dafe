"""The timeline keeps what happened, bounded, on one clock; sends it once; and can be read without a script."""

from __future__ import annotations

import json
import re
from base64 import b64decode
from collections.abc import Iterator
from html.parser import HTMLParser
from itertools import pairwise
from typing import Any
from xml.etree import ElementTree

import pytest
from ipywidgets import Widget

from exsa_lab.engine.engine import Engine
from exsa_lab.engine.stats import StepRecord
from exsa_lab.events import RoundEvent, State, StateEvent
from exsa_lab.testing import ScriptedModel, markov, scripted_engine
from exsa_lab.widgets import timeline_rows
from exsa_lab.widgets.timeline import MAX_LIVE, BatchTimeline, show_timeline
from exsa_lab.widgets.timeline_rows import Recorder, Row, lanes_of, merge
from exsa_lab.widgets.timeline_static import static_html, static_text, ticks, waits
from tests.gate import until
from tests.widgets.fake import Published, TimedGeneration, round_event, token

PIECES = [chr(ord("a") + i) for i in range(12)]


@pytest.fixture
def engine() -> Iterator[Engine]:
    target = ScriptedModel(PIECES, markov(12, 1))
    draft = ScriptedModel(PIECES, markov(12, 1, sharpness=1))
    with scripted_engine(target, draft, n_seq_max=2, step_tokens=16) as engine:
        yield engine


def _run_some(engine: Engine) -> list[Any]:
    gens = [
        engine.submit("abc" * (1 + 5 * i), max_tokens=9 + i, draft_length=i, seed=i, temperature=0.7, chat=False)
        for i in range(5)
    ]
    engine.drain()
    return gens


def test_rows_add_up_to_the_statistics(engine: Engine) -> None:
    gens = _run_some(engine)
    recorder = Recorder(engine.started)
    recorder.read(engine.generations, engine.steps)

    lanes = lanes_of(recorder.rows)

    assert list(lanes) == [gen.id for gen in gens]
    for gen, lane in zip(gens, lanes.values(), strict=True):
        stats = gen.stats
        assert (lane.tokens, lane.drafted, lane.accepted) == (
            stats.generated_tokens,
            stats.drafted_tokens,
            stats.accepted_tokens,
        )
        assert lane.prompt == stats.prompt_tokens
        assert lane.cached == stats.cached_prompt_tokens
        assert lane.state == "finished"


def test_steps_add_up_to_the_engine_s(engine: Engine) -> None:
    _run_some(engine)
    recorder = Recorder(engine.started)
    recorder.read(engine.generations, engine.steps)

    steps = [row for row in recorder.rows if row[0] == "step"]

    assert sum(row[6] + row[7] + row[8] for row in steps) == sum(step.tokens for step in engine.steps)
    assert max(row[4] for row in steps) == 2


def test_reading_piecewise_gives_the_same_as_reading_once(engine: Engine) -> None:
    piecewise = Recorder(engine.started)
    gens = []
    for i in range(4):
        gens.append(engine.submit("abc", max_tokens=20, draft_length=2, chat=False))
        piecewise.read(engine.generations, engine.steps)
        gens[i].wait(60)
    piecewise.read(engine.generations, engine.steps)
    once = Recorder(engine.started)
    once.read(engine.generations, engine.steps)

    def sums(rows: list[Row]) -> dict[int, tuple[int, int, int, str]]:
        return {i: (lane.tokens, lane.drafted, lane.accepted, lane.state) for i, lane in lanes_of(rows).items()}

    assert sums(piecewise.rows) == sums(once.rows)
    assert not piecewise.is_busy


def test_idle_time_is_cut_and_said() -> None:
    recorder = Recorder()
    recorder.read([TimedGeneration(1, 100.0).run(2.0), TimedGeneration(2, 500.0).run(1.0)])

    first, second = lanes_of(recorder.rows).values()

    assert (first.begin_s, first.end_s) == (0.0, 2.0)
    assert (second.begin_s, second.end_s) == (3.0, 4.0)
    assert ["idle", 2.5, 398.0] in recorder.rows


def test_time_during_which_something_waits_is_not_cut() -> None:
    recorder = Recorder()
    recorder.read([TimedGeneration(1, 0.0).run(0.0, final=False), TimedGeneration(2, 50.0).run(1.0)])

    assert lanes_of(recorder.rows)[2].begin_s == 50.0
    assert not [row for row in recorder.rows if row[0] == "idle"]


def test_a_preempted_generation_waits_twice() -> None:
    gen = TimedGeneration(1, 0.0)
    states = [
        (State.WAITING, 0.0),
        (State.RUNNING, 0.5),
        (State.WAITING, 1.0),
        (State.RUNNING, 3.0),
        (State.FINISHED, 4.0),
    ]
    gen.publish([StateEvent(state, "", time_s) for state, time_s in states])
    recorder = Recorder()
    recorder.read([gen])

    assert list(waits(lanes_of(recorder.rows)[1])) == [(0.0, 0.5), (1.0, 3.0)]


def test_merging_keeps_sums_and_order() -> None:
    rows = [["rounds", i % 2, i * 0.001, (i + 1) * 0.001, 1, 4, i % 5, 1 + i % 5] for i in range(200)]
    merged = merge([list(row) for row in rows], 0.02)

    assert len(merged) < 30
    for lane in (0, 1):
        for column in range(4, 8):
            assert sum(r[column] for r in merged if r[1] == lane) == sum(r[column] for r in rows if r[1] == lane)
        of_lane = [r for r in merged if r[1] == lane]
        assert all(before[3] <= after[2] + 1e-9 for before, after in pairwise(of_lane))
        assert all(r[3] - r[2] <= 0.02 + 1e-9 for r in of_lane)


def test_rows_are_bounded_however_long_it_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(timeline_rows, "MAX_ROWS", 200)
    gen = TimedGeneration(1, 0.0).run(0.0, final=False)
    recorder = Recorder()
    was_reset = False
    for i in range(3000):
        event = RoundEvent(i, 1, 1, 2, 1, 0.001, 0.005, 0.0, time_s=1 + i * 0.01)
        gen.publish([token(i, "a"), token(i, "b"), event])
        was_reset |= recorder.read([gen])[1]

    assert was_reset
    assert len(recorder.rows) <= 200
    assert lanes_of(recorder.rows)[1].rounds == 3001


def test_old_lanes_are_dropped_but_not_those_that_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(timeline_rows, "MAX_LANES", 10)
    recorder = Recorder()
    gens = [
        TimedGeneration(1, 0.0).run(0.0, final=False),
        *(TimedGeneration(i, float(i)).run(0.5) for i in range(2, 40)),
    ]
    for i in range(len(gens)):
        recorder.read(gens[: i + 1], [StepRecord(float(i), 3, 1, 1, 1, 1, 0, 1, 9, 0.1, 0, 0.1, 0)])

    lanes = lanes_of(recorder.rows)
    assert len(lanes) <= 10
    assert {1, 39} <= set(lanes)
    assert min(row[1] for row in recorder.rows if row[0] == "step") > 20


# Static view


class _Texts(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        assert not [name for name, _ in attrs if name.startswith("on")]

    def handle_data(self, data: str) -> None:
        self.text += data


def test_static_view_is_script_free_and_escapes_prompts() -> None:
    recorder = Recorder()
    recorder.read([TimedGeneration(1, 0.0, "<script>alert(1)</script> & \x1b[31m $x$").run(1.0)])

    html = static_html(recorder.rows, slots=2, cells=64)

    parser = _Texts()
    parser.feed(html)
    assert set(parser.tags) <= {"div", "img", "details", "summary", "ul", "li"}
    assert "<script>alert(1)</script> & ␛[31m $x$" in parser.text
    data = re.search(r"base64,([^\"]+)", html)
    assert data is not None
    svg = ElementTree.fromstring(b64decode(data.group(1)))
    assert not [element for element in svg.iter() if element.tag.endswith("script")]


def test_static_text_says_how_each_went(engine: Engine) -> None:
    gens = _run_some(engine)
    recorder = Recorder(engine.started)
    recorder.read(engine.generations, engine.steps)

    lines = static_text(recorder.rows).splitlines()

    assert lines[0].startswith("5 generations: 5 finished. ")
    for gen, line in zip(gens, lines[1:], strict=True):
        assert f"#{gen.id} " in line
        assert f"{gen.stats.generated_tokens} tokens" in line


@pytest.mark.parametrize(("begin", "end"), [(0, 0.013), (0, 1), (2.3, 2.31), (0, 4000), (17.2, 91)])
def test_ticks_are_round_and_inside(begin: float, end: float) -> None:
    found = ticks(begin, end)
    assert 3 <= len(found) <= 9
    assert all(begin <= tick <= end + 1e-9 for tick in found)


def test_bars_of_steps_stay_in_their_place_and_text_can_be_read() -> None:
    late: list[Row] = [["step", 1.9, 9.0, 1, 1, 5, 5, 0, 0], ["step", 5.0, 9.0, 1, 1, 5, 5, 0, 0]]
    recorder = Recorder()
    recorder.read([TimedGeneration(1, 0.0).run(2.0)])
    data = re.search(r"base64,([^\"]+)", static_html([*recorder.rows, *late]))
    assert data is not None
    svg = b64decode(data.group(1)).decode()
    assert svg.count('clip-path="url(#p)"') == 3  # one path for each panel, of the step that began within the time
    assert 'fill="#fff"' in svg  # paper of its own, so that the text can be read on any page
    assert "text{font:11px system-ui,sans-serif;fill:#4b5057}" in svg


def test_the_static_view_compares_with_a_static_batcher(engine: Engine, sent: list[dict[str, Any]]) -> None:
    timeline = BatchTimeline(_run_some(engine))
    timeline._thread.join(60)
    html, text = timeline.static()
    assert "Computed: a static batcher would have needed" in text
    assert "The KV cache by slot at its fullest" in html
    assert html.count("<img") == 3
    assert "Static batching, computed" in html


def test_an_empty_timeline_can_be_shown() -> None:
    assert static_text([]) == "No generations yet."
    assert "No generations yet." in static_html([])


# The widget


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[dict[str, Any]]]:
    messages: list[dict[str, Any]] = []
    monkeypatch.setattr(BatchTimeline, "send", lambda _self, content: messages.append(json.loads(json.dumps(content))))
    yield messages
    Widget.close_all()


def _joined(messages: list[dict[str, Any]]) -> list[Row]:
    rows: list[Row] = []
    for i, message in enumerate(message for message in messages if message["type"] == "rows"):
        assert message["seq"] == i
        rows = [] if message["reset"] else rows
        rows += message["rows"]
    return rows


def test_every_row_is_sent_once_and_it_ends_with_the_engine(engine: Engine, sent: list[dict[str, Any]]) -> None:
    timeline = BatchTimeline(engine, update_hz=200)
    for num_lanes in (5, 10):
        _run_some(engine)
        until(lambda wanted=num_lanes: len(lanes_of(timeline.rows)) == wanted and not timeline.is_busy)
    engine.close()
    timeline._thread.join(60)

    assert timeline.error is None
    assert not timeline._thread.is_alive()
    assert len(sent) > 1
    assert _joined(sent) == timeline.rows


def test_a_late_page_gets_everything(engine: Engine, sent: list[dict[str, Any]]) -> None:
    gens = _run_some(engine)
    timeline = BatchTimeline(gens)
    timeline._thread.join(60)
    num_sent = len(sent)

    timeline._receive(timeline, {"type": "hello"}, [])
    timeline._receive(timeline, {"type": "nonsense"}, [])
    timeline._receive(timeline, "hello", [])

    rows, computed = sent[num_sent:]
    assert rows["reset"]
    assert rows["rows"] == json.loads(json.dumps(timeline.rows))
    assert computed["type"] == "computed"
    assert set(lanes_of(computed["rows"])) == {gen.id for gen in gens}


def test_listed_generations_come_with_their_own_steps_alone(engine: Engine, sent: list[dict[str, Any]]) -> None:
    engine.generate("abc", max_tokens=20, chat=False)
    first = engine.call(lambda loop: len(loop.reporter.steps))
    gens = _run_some(engine)
    last_but_one = engine.call(lambda loop: len(loop.reporter.steps))
    engine.generate("abc", max_tokens=20, chat=False)
    timeline = BatchTimeline(gens)
    timeline._thread.join(60)

    steps = [row for row in timeline.rows if row[0] == "step"]
    own = engine.steps[first:last_but_one]
    assert sum(row[6] + row[7] + row[8] for row in steps) == sum(step.tokens for step in own)
    last = max(lane.end_s for lane in lanes_of(timeline.rows).values())
    assert all(row[1] <= last for row in steps)


def test_a_cached_beginning_names_who_has_it_too(engine: Engine) -> None:
    first = engine.generate("abcabcabc", max_tokens=4, chat=False)
    second = engine.generate("abcabcabcabc", max_tokens=4, chat=False)
    recorder = Recorder(engine.started)
    recorder.read(engine.generations, engine.steps)
    chunks = [row for row in recorder.rows if row[0] == "prefill" and row[1] == second.id]
    assert [(row[5], row[7]) for row in chunks] == [(1, first.id), (0, 0)]


def test_history_leaves_out_older_generations(engine: Engine, sent: list[dict[str, Any]]) -> None:
    gens = _run_some(engine)
    timeline = BatchTimeline(engine, history=2)
    until(lambda: bool(timeline.rows))
    timeline.stop()

    assert list(lanes_of(timeline.rows)) == [gen.id for gen in gens[-2:]]


def test_listed_generations_know_their_engine_s_limits(engine: Engine, sent: list[dict[str, Any]]) -> None:
    gens = _run_some(engine)
    assert BatchTimeline(gens[:2]).limits == {"slots": 2, "cells": engine.config.n_ctx}


def test_a_broken_source_stops_the_view_and_is_kept(
    sent: list[dict[str, Any]], caplog: pytest.LogCaptureFixture
) -> None:
    gen = TimedGeneration(1, 0.0).run(1.0)
    gen.events.append(StateEvent("neither", "", 2.0))  # type: ignore[arg-type]
    timeline = BatchTimeline([gen])
    timeline._thread.join(60)

    assert isinstance(timeline.error, AttributeError)
    assert "This timeline stopped" in caplog.text
    assert timeline.problem.startswith("This timeline stopped; the generations it shows go on. AttributeError")


@pytest.mark.parametrize("is_last_expression", [False, True])
def test_the_output_is_static_and_renewed_at_rest(
    engine: Engine, monkeypatch: pytest.MonkeyPatch, is_last_expression: bool
) -> None:
    published = Published(monkeypatch)
    if is_last_expression:
        timeline = BatchTimeline(engine, update_hz=100)
        timeline._ipython_display_()
    else:
        timeline = show_timeline(engine, update_hz=100).timeline
    _run_some(engine)
    until(lambda: bool(published.renewed) and not timeline.is_busy)
    timeline.stop()

    assert "No generations yet" in published.shown[0]["text/plain"]
    assert "5 finished" in published.renewed[-1]["text/plain"]


def test_a_long_run_is_saved_before_it_ends(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("exsa_lab.widgets.timeline.SAVE_S", 0.0)
    gen = TimedGeneration(1, 0.0).run(1.0, final=False)
    published = Published(monkeypatch)
    timeline = BatchTimeline([gen], update_hz=200)
    timeline.show()
    gen.events.append(round_event(99, 0, 0, 1.1))
    until(lambda: bool(published.renewed))
    assert timeline.is_busy
    timeline.stop()


def test_old_displays_stop_following(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    Published(monkeypatch)
    views = [show_timeline(engine) for _ in range(MAX_LIVE + 2)]
    assert [view.timeline._thread.is_alive() for view in views] == [False] * 2 + [True] * MAX_LIVE
    for view in views:
        view.timeline.stop()
