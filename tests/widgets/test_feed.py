"""One thread serves all feeds: none is forgotten, none disturbs another, and what is dear waits for a quiet moment."""

from __future__ import annotations

import logging
import threading
import time

import pytest

from exsa_lab.events import Event, State, StateEvent
from exsa_lab.widgets import feed as feeds
from exsa_lab.widgets.feed import Feed, wait_for_round
from tests.gate import until
from tests.widgets.fake import FakeGeneration, token

END: list[Event] = [StateEvent(State.FINISHED, "stop")]


@pytest.fixture(autouse=True)
def _own_server(monkeypatch: pytest.MonkeyPatch) -> None:
    """One that serves no views of other tests."""
    monkeypatch.setattr(feeds, "_server", feeds._Server())


class Watched:
    """A generation with a feed that notes what it delivers and when it concludes."""

    def __init__(self, update_hz: float = 1000.0) -> None:
        self.gen = FakeGeneration()
        self.events: list[Event] = []
        self.threads: set[str] = set()
        self.is_concluded = threading.Event()
        self.feed = Feed(self.gen, self._deliver, update_hz, conclude=self.is_concluded.set)
        self.feed.start()

    def _deliver(self, events: list[Event], is_last: bool) -> None:
        assert not self.is_concluded.is_set()
        self.threads.add(threading.current_thread().name)
        self.events += events
        self.is_last = is_last


def _wait_until(watched: Watched, number: int) -> None:
    until(lambda: len(watched.events) >= number)
    assert len(watched.events) == number


def test_all_feeds_get_all_their_events_from_one_thread() -> None:
    all_watched = [Watched() for _ in range(5)]
    for number in range(20):
        for watched in all_watched:
            watched.gen.publish([token(number, "x")])
        time.sleep(0.001)
    for watched in all_watched:
        watched.gen.publish(END)
        assert watched.feed.wait(60)
        assert watched.events == watched.gen.events
        assert watched.is_last
        assert watched.threads == {"exsa-feeds"}


def test_the_end_is_concluded_late_while_others_run_and_at_once_for_who_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feeds, "CONCLUDE_S", 600.0)
    running, ended = Watched(), Watched()
    ended.gen.publish(END)
    _wait_until(ended, 1)  # delivered at once
    running.gen.publish([token(0, "x")])
    _wait_until(running, 1)  # the thread went round once more
    assert not ended.is_concluded.is_set()

    assert ended.feed.wait(60)  # though the other one still runs
    assert ended.is_concluded.is_set()
    running.gen.publish(END)
    assert running.is_concluded.wait(60)  # nobody waits, but nothing else runs


def test_the_end_is_concluded_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feeds, "CONCLUDE_S", 0.02)
    running, ended = Watched(), Watched()
    ended.gen.publish(END)
    assert ended.is_concluded.wait(60)
    running.gen.publish(END)
    assert running.feed.wait(60)


def test_a_feed_that_fails_twice_harms_no_other(caplog: pytest.LogCaptureFixture) -> None:
    def fail(_what: object, _is_last: object = None) -> None:
        raise RuntimeError("no page")

    gen, other = FakeGeneration(), Watched()
    failing = Feed(gen, fail, 1000, on_error=fail)
    failing.start()
    with caplog.at_level(logging.ERROR):
        gen.publish([token(0, "x")])
        assert failing.wait(60)
    assert isinstance(failing.error, RuntimeError)
    assert "the generation itself goes on" in caplog.text
    other.gen.publish([token(0, "y")])
    _wait_until(other, 1)
    other.gen.publish(END)
    assert other.feed.wait(60)


def test_another_view_can_follow_a_round() -> None:
    watched = Watched()
    reached = threading.Event()

    def follow() -> None:
        wait_for_round(60)
        reached.set()

    threading.Thread(target=follow, daemon=True).start()
    deadline = time.monotonic() + 60
    while not reached.is_set() and time.monotonic() < deadline:
        watched.gen.publish([token(0, "x")])
        time.sleep(0.005)
    assert reached.is_set()
    watched.gen.publish(END)
    assert watched.feed.wait(60)
