"""The handle: what is published to it, who is told, and what it says at the end."""

from __future__ import annotations

import threading

import pytest

from exsa_lab.errors import DecodeError, GenerationCancelled
from exsa_lab.events import Event, Source, State, StateEvent, TokenEvent
from tests.engine.parts import Access, generation


def token(text: str) -> TokenEvent:
    return TokenEvent(0, 0, text, Source.TARGET, None, None, None, 0)


FINISHED = StateEvent(State.FINISHED, "stop")


def test_text_state_and_result_follow_the_events() -> None:
    handle = generation()
    handle.publish([StateEvent(State.RUNNING)])
    handle.publish([token("a"), token("b")])
    assert (handle.text, handle.state) == ("ab", State.RUNNING)
    with pytest.raises(TimeoutError, match="still running"):
        handle.result(timeout=0)
    assert not handle.wait(timeout=0)
    handle.publish([FINISHED])
    assert handle.result() == "ab"
    assert handle.wait()


def test_a_listener_hears_everything_once_and_nothing_after_the_end() -> None:
    handle = generation()
    handle.publish([token("a")])
    heard: list[Event] = []
    handle.subscribe(heard.extend)
    assert handle.is_watched
    handle.publish([token("b")])
    handle.publish([FINISHED])
    assert heard == handle.events
    assert not handle.is_watched
    late: list[Event] = []
    handle.subscribe(late.extend)
    assert late == handle.events


def test_a_broken_listener_is_dropped_and_the_others_hear_on() -> None:
    handle = generation()
    heard: list[Event] = []

    def broken(events: list[Event]) -> None:
        raise RuntimeError("a view broke")

    handle.subscribe(broken)
    handle.subscribe(heard.extend)
    handle.publish([token("a")])
    handle.publish([token("b")])
    assert heard == handle.events
    handle.publish([FINISHED])
    assert handle.result() == "ab"


def test_the_end_is_told_once_also_to_those_who_ask_later() -> None:
    handle = generation()
    ended: list[str] = []
    forget = handle.on_end(lambda: ended.append("forgotten"))
    forget()
    handle.on_end(lambda: 1 / 0)  # type: ignore[arg-type, return-value]
    handle.on_end(lambda: ended.append("waited"))
    handle.publish([FINISHED])
    handle.on_end(lambda: ended.append("late"))
    assert ended == ["waited", "late"]


def test_an_end_wakes_who_waits() -> None:
    handle = generation()
    texts: list[str] = []
    waiting = threading.Thread(target=lambda: texts.append(handle.result(timeout=60)))
    waiting.start()
    handle.publish([token("a"), FINISHED])
    waiting.join(timeout=60)
    assert texts == ["a"]


def test_failure_and_cancellation_are_raised_and_the_text_stays() -> None:
    failed = generation()
    failed.error = DecodeError("it broke.")
    failed.publish([token("a"), StateEvent(State.FAILED)])
    with pytest.raises(DecodeError, match="it broke"):
        failed.result()
    access = Access()
    cancelled = generation(access=access)
    cancelled.cancel("enough")
    cancelled.cancel("the first reason stays")
    cancelled.publish([token("a"), StateEvent(State.CANCELLED)])
    with pytest.raises(GenerationCancelled, match=r"cancelled \(enough\)"):
        cancelled.result()
    assert failed.text == cancelled.text == "a"
    assert access.cancelled == [cancelled, cancelled]
    assert access.ended == [cancelled]


def test_the_trace_is_a_value_of_its_own() -> None:
    handle = generation([{"role": "user", "content": "abc"}], seed=3, stop=["x"])
    handle.publish([token("a")])
    trace = handle.trace
    handle.publish([token("b")])
    assert trace.text == "a"
    assert trace.prompt == "abc"
    assert (trace.params["seed"], trace.params["stop"]) == (3, ["x"])
    assert trace.models == {"target": "letters", "draft": None}
    trace.models["target"] = "changed"
    assert handle.trace.models["target"] == "letters"
    assert "1 waiting: 0 tokens" in repr(handle)


def test_only_a_listener_that_looks_has_probabilities_computed() -> None:
    handle = generation()
    told: list[Event] = []
    stop = handle.subscribe(told.extend, inline=True, looks=False)
    handle.publish([token("a")])
    assert told == handle.events
    assert not handle.is_watched
    look_away = handle.subscribe(told.extend, inline=True)
    assert handle.is_watched
    look_away()
    assert not handle.is_watched
    stop()
