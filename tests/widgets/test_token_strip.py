"""The strip sends every row once, in order and in bounded messages, and answers a page that came late."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from ipywidgets import Widget

from exsa_lab.errors import ConfigError
from exsa_lab.events import Event, State, StateEvent, TokenEvent
from exsa_lab.testing import ScriptedModel, markov, scripted_engine
from exsa_lab.widgets import strand, token_strip
from exsa_lab.widgets.rows import to_rows
from exsa_lab.widgets.scripts import WIDGET_VIEW
from exsa_lab.widgets.token_strip import TokenStrip
from tests.gate import until
from tests.widgets.fake import PROSE, FakeGeneration, Published, play, speculative_rounds, split_tokens, token

Messages = list[dict[str, Any]]


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> Iterator[Messages]:
    messages: Messages = []
    monkeypatch.setattr(TokenStrip, "send", lambda _self, content: messages.append(json.loads(json.dumps(content))))
    yield messages
    Widget.close_all()


def _finished(num_tokens: int) -> FakeGeneration:
    gen = FakeGeneration()
    gen.publish([token(i, f" {i}") for i in range(num_tokens)])
    gen.publish([StateEvent(State.FINISHED, "length")])
    return gen


def _joined(messages: Messages) -> list[Any]:
    rows: list[Any] = []
    for message in messages:
        assert message["type"] == "delta"
        assert message["start"] == len(rows)
        rows += message["rows"]
    return rows


def test_deltas_add_up_to_all_rows(sent: Messages) -> None:
    gen = FakeGeneration()
    strip = TokenStrip(gen, update_hz=1000)

    rounds = speculative_rounds(split_tokens(PROSE))
    play(gen, rounds[:9], pause_s=0.002).join()
    until(lambda: _joined(sent) == to_rows(gen.events))
    play(gen, rounds[9:], pause_s=0.002)

    assert strip.feed.wait(60)
    assert len(sent) > 1
    assert _joined(sent) == to_rows(gen.events)
    assert sent[-1]["head"]["final"]


def test_the_snapshot_is_set_once_at_the_end(sent: Messages) -> None:
    gen = FakeGeneration()
    strip = TokenStrip(gen, update_hz=1000)
    changes: list[Any] = []
    strip.observe(changes.append, "snapshot")

    play(gen, speculative_rounds(split_tokens(PROSE)), pause_s=0.001)

    assert strip.feed.wait(60)
    assert len(changes) == 1
    assert strip.snapshot["rows"] == to_rows(gen.events)
    assert strip.snapshot["head"]["summary"] == sent[-1]["head"]["summary"] != ""


def test_messages_and_snapshot_are_bounded(sent: Messages, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(strand, "MAX_ROWS", 10)
    monkeypatch.setattr(strand, "MAX_SNAPSHOT_ROWS", 25)

    strip = TokenStrip(_finished(98))

    assert strip.feed.wait(60)
    assert len(_joined(sent)) == 98
    assert max(len(message["rows"]) for message in sent) == 10
    assert (strip.snapshot["start"], len(strip.snapshot["rows"])) == (73, 25)


def test_a_change_of_state_alone_reaches_the_page(sent: Messages) -> None:
    gen = FakeGeneration()
    gen.publish([StateEvent(State.CANCELLED)])

    assert TokenStrip(gen).feed.wait(60)
    assert [message["head"]["state"] for message in sent] == ["cancelled"]


def test_a_late_page_gets_what_it_lacks(sent: Messages) -> None:
    strip = TokenStrip(_finished(30))
    assert strip.feed.wait(60)
    sent.clear()

    strip._receive(strip, {"type": "hello", "have": 12}, [])

    assert [message["start"] for message in sent] == [12]
    assert len(sent[0]["rows"]) == 18


@pytest.mark.parametrize("content", [None, "stop", {}, {"type": "hello"}, {"type": "hello", "have": "0"}, {"type": []}])
def test_unexpected_messages_of_the_page_are_ignored(sent: Messages, content: Any) -> None:
    gen = _finished(3)
    strip = TokenStrip(gen)
    assert strip.feed.wait(60)
    sent.clear()

    strip._receive(strip, content, [])

    assert (sent, gen.num_cancels) == ([], 0)


@pytest.mark.parametrize("have", [-5, 10**9])
def test_a_hello_out_of_range_is_answered_within_it(sent: Messages, have: int) -> None:
    strip = TokenStrip(_finished(3))
    assert strip.feed.wait(60)
    sent.clear()

    strip._receive(strip, {"type": "hello", "have": have}, [])

    assert 0 <= sent[0]["start"] <= 3


@pytest.mark.usefixtures("sent")
def test_stop_cancels_the_generation() -> None:
    gen = FakeGeneration()
    strip = TokenStrip(gen)

    strip._handle_custom_msg({"type": "stop"}, [])
    gen.publish([StateEvent(State.CANCELLED)])

    assert gen.num_cancels == 1
    assert strip.feed.wait(60)


@pytest.mark.usefixtures("sent")
def test_the_output_is_static_and_renewed_at_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    published = Published(monkeypatch)
    gen = FakeGeneration()
    strip = TokenStrip(gen)
    strip._ipython_display_()

    play(gen, speculative_rounds(split_tokens(PROSE)))
    assert strip.feed.wait(60)

    assert ["waiting" in bundle["text/plain"] for bundle in published.shown] == [True]
    assert [PROSE in bundle["text/plain"] for bundle in published.renewed] == [True]


@pytest.mark.usefixtures("sent")
def test_a_long_generation_is_saved_before_it_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(token_strip, "SAVE_S", 0.0)
    published = Published(monkeypatch)
    gen = FakeGeneration()
    strip = TokenStrip(gen, update_hz=1000)
    strip.show()
    gen.publish([StateEvent(State.RUNNING), token(0, "so far")])
    until(lambda: published.renewed)
    gen.publish([StateEvent(State.CANCELLED)])

    assert strip.feed.wait(60)
    assert "so far" in published.renewed[0]["text/plain"]
    assert "running" in published.renewed[0]["text/plain"]


@pytest.mark.usefixtures("sent")
def test_elsewhere_the_widget_is_named_until_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VSCODE_PID", "1")
    gen = FakeGeneration()
    strip = TokenStrip(gen)
    assert strip.bundle()[WIDGET_VIEW]["model_id"] == strip.model_id
    gen.publish([StateEvent(State.FINISHED)])
    assert strip.feed.wait(60)
    assert WIDGET_VIEW not in strip.bundle()


@pytest.mark.usefixtures("sent")
def test_what_fails_is_shown_beneath() -> None:
    class Stubborn(FakeGeneration):
        def cancel(self, _reason: str = "") -> None:
            raise ConfigError("no.", hint="Not \x1b[31mnow.")

    strip = TokenStrip(Stubborn())
    strip._handle_custom_msg({"type": "stop"}, [])
    assert strip.problem == "What was asked for here failed. no. Not \\x1b[31mnow."
    strip.gen.publish([StateEvent(State.FINISHED)])
    assert strip.feed.wait(60)


@pytest.mark.usefixtures("sent")
def test_a_failing_view_does_not_stop_the_generation(caplog: pytest.LogCaptureFixture) -> None:
    def fail() -> None:
        raise RuntimeError("the page is gone")

    gen = FakeGeneration()
    strip = TokenStrip(gen, on_final=fail)
    events: list[Event] = [StateEvent(State.FINISHED)]
    gen.publish(events)

    assert strip.feed.wait(60)
    assert isinstance(strip.feed.error, RuntimeError)
    assert "the generation itself goes on" in caplog.text
    assert strip.problem.endswith("RuntimeError: the page is gone")
    assert gen.state is State.FINISHED


def test_a_real_generation_is_shown_with_the_numbers_of_its_statistics(sent: Messages) -> None:
    pieces = ["zero", " one", " two", "\n", "<b>", " five"]
    target = ScriptedModel(pieces, markov(6, seed=1))
    draft = ScriptedModel(pieces, markov(6, seed=1, sharpness=1.0))
    with scripted_engine(target, draft) as engine:
        gen = engine.submit("zero one", chat=False, max_tokens=60, temperature=1.0, seed=3, draft_length=3)
        strip = TokenStrip(gen, update_hz=1000)
        assert gen.wait(30)
        assert strip.feed.wait(30)

    rows = _joined(sent)
    head = sent[-1]["head"]
    assert rows == to_rows(gen.events)
    assert "".join(row[2] for row in rows if row[0] in "tabr") == gen.text
    assert (head["generated"], head["final"]) == (60, True)
    assert head["acceptance"] == pytest.approx(gen.stats.acceptance_rate, rel=1e-3)
    assert head["per_round"] == pytest.approx(gen.stats.mean_tokens_per_round, rel=1e-3)
    assert head["tok_s"] == pytest.approx(gen.stats.tokens_per_second, rel=1e-3)
    assert {"a", "r", "x"} <= {row[0] for row in rows}


def test_assets_are_package_files_without_external_resources() -> None:
    for text in (str(TokenStrip._esm), str(TokenStrip._css)):
        assert len(text) > 1000
        assert "http" not in text
        assert "innerHTML" not in text


# Branches


def _with_alternatives() -> ScriptedModel:
    return ScriptedModel([*"abcdefgh", "."], markov(9, 3), ends=[8])


def test_a_page_branches_and_gets_the_rows_from_there_on(sent: Messages) -> None:
    with scripted_engine(_with_alternatives()) as engine:
        gen = engine.generate("abc", chat=False, max_tokens=10, top_logprobs=3, logit_bias={8: -100})
        strip = TokenStrip(gen, update_hz=1000)
        assert strip.feed.wait(60)
        [place] = [e for e in gen.events if isinstance(e, TokenEvent) and e.position == 4]
        other = next(a for a in place.top if a.token_id not in (place.token_id, 8))
        sent.clear()
        strip.answer({"type": "branch", "strand": 0, "position": 4, "token": other.token_id})
        [branch] = strip.branches
        branch.wait(60)
        until(lambda: len(strip.snapshot["branches"]) == 1)

        rows = [row for message in sent for row in message["rows"]]
        assert {message["strand"] for message in sent} == {1}
        assert sent[0]["branch"] == {"parent": 0, "position": 4, "label": other.text}
        assert [row for row in rows if row[0] != "R"] == [row for row in to_rows(branch.events) if row[0] not in "Rk"]
        assert rows[0][:3] == ["c", other.token_id, other.text]
        assert strip.snapshot["branches"][0]["rows"] == rows

        # A branch is left as the first text is, at positions that count what it shares.
        [early] = [e for e in gen.events if isinstance(e, TokenEvent) and e.position == 2]
        another = next(a for a in early.top if a.token_id not in (early.token_id, 8))
        strip.answer({"type": "branch", "strand": 1, "position": 2, "token": another.token_id})
        assert strip.branches[1].result(60).startswith(gen.text[:2] + another.text)
        html, text = strip.static()
        for number, title in ((1, f"Branch 1 at token 4: {other.text}"), (2, f"Branch 2 at token 2: {another.text}")):
            assert title in html, number
            assert title in text
        assert branch.text[4:] in text
        assert "█" in html
        assert "<script" not in html


def test_what_cannot_branch_is_told_and_odd_requests_change_nothing(sent: Messages) -> None:
    with scripted_engine(_with_alternatives()) as engine:
        gen = engine.generate("abc", chat=False, max_tokens=4, top_logprobs=2)
        strip = TokenStrip(gen, update_hz=1000)
        assert strip.feed.wait(60)
        odd: list[Any] = [{}, {"type": "branch"}, "branch", None]
        for request in [*odd, {"type": "branch", "strand": 0, "position": "1", "token": 2}]:
            strip._receive(None, request, None)
        assert (strip.branches, strip.problem) == ([], "")
        strip._receive(None, {"type": "branch", "strand": 0, "position": 99, "token": 2}, None)
        assert "position is 99" in strip.problem
        engine.close()
        strip._receive(None, {"type": "branch", "strand": 0, "position": 1, "token": 2}, None)
        assert "the engine is closed" in strip.problem
        assert strip.branches == []
