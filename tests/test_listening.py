"""A listener is told everything, in order, by one thread at a time."""

from __future__ import annotations

import threading

import pytest

from exsa_lab.events import Event, State, StateEvent
from exsa_lab.listening import Subscription


def test_what_is_new_is_told_once() -> None:
    events: list[Event] = [StateEvent(State.WAITING)]
    told: list[list[Event]] = []
    subscription = Subscription(events, told.append, inline=True)
    subscription.tell()
    subscription.tell()
    events.append(StateEvent(State.RUNNING))
    subscription.tell()
    assert told == [[StateEvent(State.WAITING)], [StateEvent(State.RUNNING)]]


def test_nobody_waits_for_a_listener_and_its_news_are_not_lost() -> None:
    events: list[Event] = [StateEvent(State.WAITING)]
    told: list[Event] = []
    is_inside, may_go_on = threading.Event(), threading.Event()

    def listen(news: list[Event]) -> None:
        told.extend(news)
        is_inside.set()
        may_go_on.wait(60)

    subscription = Subscription(events, listen, inline=False)
    thread = threading.Thread(target=subscription.tell)
    thread.start()
    assert is_inside.wait(60)
    events.append(StateEvent(State.RUNNING))
    subscription.tell()  # returns at once: the other thread tells it
    assert told == events[:1]
    may_go_on.set()
    thread.join(60)
    assert told == events


def test_what_a_listener_raises_is_raised_and_it_can_be_told_again() -> None:
    events: list[Event] = [StateEvent(State.WAITING)]

    def listen(news: list[Event]) -> None:
        raise ValueError("no")

    subscription = Subscription(events, listen, inline=True)
    with pytest.raises(ValueError, match="no"):
        subscription.tell()
    events.append(StateEvent(State.RUNNING))
    with pytest.raises(ValueError, match="no"):
        subscription.tell()
