"""A generation made by hand: a list of events and a subscription, no engine."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from exsa_lab.engine.stats import Stats
from exsa_lab.events import (
    DraftReason,
    Event,
    PrefillEvent,
    RejectedEvent,
    Rejection,
    RoundEvent,
    Source,
    State,
    StateEvent,
    TokenEvent,
)
from exsa_lab.prompts.thinking import Thinking
from exsa_lab.widgets import live

PROSE = (
    "The sky looks blue because air scatters short wavelengths far more than long ones. Sunlight holds every "
    "colour, and as it crosses the atmosphere the blue part is sent in all directions, so that it reaches your "
    "eyes from the whole sky.\n\nAt sunset the light takes a longer path. Most of the blue has been scattered "
    "away by then, and what is left is red and orange:\n\n1. short waves are lost first,\n2. long waves arrive."
)


class Published:
    """What widgets put into outputs, in its order: shown, and renewed."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.shown: list[dict[str, Any]] = []
        self.renewed: list[dict[str, Any]] = []
        monkeypatch.delenv("VSCODE_PID", raising=False)
        monkeypatch.setattr(live, "display", self._taker(self.shown))
        monkeypatch.setattr(live, "update_display", self._taker(self.renewed))

    def _taker(self, bundles: list[dict[str, Any]]) -> Callable[..., None]:
        def take(bundle: dict[str, Any], *, raw: bool, display_id: str) -> None:
            assert raw
            assert set(bundle) == {"text/html", "text/plain"}
            assert f'data-view="{display_id}"' in bundle["text/html"]
            bundles.append(bundle)

        return take


class FakeGeneration:
    """What the views need of a `Generation`; `publish` stands in for the engine thread."""

    def __init__(self) -> None:
        self.state = State.WAITING
        self.events: list[Event] = []
        self.stats = Stats()
        self.num_cancels = 0
        self.origin = ""
        self.thinking: Thinking | None = None
        self._listeners: list[Callable[[list[Event]], None]] = []
        self._done = threading.Event()

    def subscribe(self, listener: Callable[[list[Event]], None], *, inline: bool = False) -> Callable[[], None]:
        if self.events:
            listener(list(self.events))
        self._listeners.append(listener)
        return lambda: self._listeners.remove(listener)

    def publish(self, events: list[Event]) -> None:
        self.events.extend(events)
        for event in events:
            if isinstance(event, StateEvent):
                self.state = event.state
        for listener in list(self._listeners):
            listener(events)
        if self.state.is_final:
            self._done.set()

    def wait(self, timeout: float | None = None) -> bool:
        return self._done.wait(timeout)

    def cancel(self, _reason: str = "") -> None:
        self.num_cancels += 1


class TimedGeneration(FakeGeneration):
    """One that has a number and a time of its submission."""

    def __init__(self, id: int, submitted: float, prompt: str = "hello") -> None:
        super().__init__()
        self.id, self.submitted, self.prompt, self.origin = id, submitted, prompt, ""

    def run(self, seconds: float, *, final: bool = True) -> TimedGeneration:
        self.publish([StateEvent(State.RUNNING, time_s=0.1), PrefillEvent(0, 5, False, 5, 0.2)])
        self.publish([token(0, "a"), round_event(0, 0, 0, 0.3)])
        if final:
            self.publish([StateEvent(State.FINISHED, "stop", seconds)])
        return self


def token(position: int, text: str, source: Source = Source.TARGET, **values: object) -> TokenEvent:
    defaults = {"token_id": 100 + position, "p": 0.5, "q": None, "u": None, "round": 0}
    return TokenEvent(position=position, text=text, source=source, **{**defaults, **values})  # type: ignore[arg-type]


def refused(position: int, text: str, **values: object) -> RejectedEvent:
    defaults = {"token_id": 900, "reason": Rejection.REFUSED, "p": 0.02, "q": 0.4, "u": 0.7, "round": 1}
    return RejectedEvent(position=position, text=text, **{**defaults, **values})  # type: ignore[arg-type]


def round_event(number: int, k: int, accepted: int, time_s: float) -> RoundEvent:
    reason = DraftReason.FIXED if number else DraftReason.FIRST_TOKEN
    return RoundEvent(number, k, accepted, k + 1, 1, 0.011, 0.017, 0.001, reason, "model" if k else None, time_s)


def split_tokens(text: str) -> list[str]:
    """Cut the text roughly as a byte-pair tokenizer would: a word with its leading space, long words in two."""
    pieces: list[str] = []
    word = ""
    for char in text:
        if char in " \n.,:" and word:
            pieces.append(word)
            word = ""
        word += char
        if (len(word) > 8) or word == "\n":
            pieces.append(word)
            word = ""
    return [*pieces, word] if word else pieces


def speculative_rounds(pieces: list[str], k: int = 4, seed: int = 1) -> list[list[Event]]:
    """Batches of events, one per round, of a speculative run that writes the pieces."""
    rng = random.Random(seed)
    batches: list[list[Event]] = [
        [StateEvent(State.RUNNING, time_s=0.01), PrefillEvent(0, 31, False, 31, 0.1)],
        [token(0, pieces[0], p=0.8), round_event(0, 0, 0, 0.2)],
    ]
    position, number = 1, 1
    while position < len(pieces):
        batch: list[Event] = []
        num_right = min(rng.choice([0, 1, 2, 3, 4, 4]), k, len(pieces) - position)
        for _ in range(num_right):
            p, q = rng.uniform(0.3, 1), rng.uniform(0.3, 1)
            values = {"p": p, "q": q, "u": rng.random() * min(1, p / q), "round": number, "drafter": "model"}
            batch.append(token(position, pieces[position], Source.ACCEPTED, **values))
            position += 1
        for i in range(num_right, k):
            values = {"reason": Rejection.DISCARDED, "p": None, "u": None} if i > num_right else {}
            wrong = rng.choice([" and", " very", " light", " of", ".", " the"])
            batch.append(refused(position + i - num_right, wrong, round=number, drafter="model", **values))
        if position < len(pieces):
            source = Source.BONUS if num_right == k else Source.RESAMPLED
            batch.append(token(position, pieces[position], source, p=rng.uniform(0.2, 1), u=rng.random(), round=number))
            position += 1
        batches.append([*batch, round_event(number, k, num_right, 0.2 + 0.03 * number)])
        number += 1
    return [*batches, [StateEvent(State.FINISHED, "stop", 0.2 + 0.03 * number)]]


def play(gen: FakeGeneration, batches: list[list[Event]], pause_s: float = 0.0) -> threading.Thread:
    """Publish the batches from a thread of their own, as the engine does."""

    def run() -> None:
        for batch in batches:
            time.sleep(pause_s)
            if gen.num_cancels:
                gen.publish([StateEvent(State.CANCELLED, "cancelled")])
                return
            gen.publish(batch)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    return thread
