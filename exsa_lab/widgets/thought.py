"""How long the thought at the head of a text is, for views that fold it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from exsa_lab.events import Event, RejectedEvent, RoundEvent, TokenEvent
from exsa_lab.prompts.thinking import Thinking


@dataclass(frozen=True, slots=True)
class Thought:
    """A thought that is over."""

    rows: int
    """Tokens of it in a view, refused ones included."""
    tokens: int
    seconds: float
    """From the submission to the round before its end."""

    @property
    def title(self) -> str:
        return f"Thought: {self.tokens:,} tokens, {self.seconds:.1f} s"


class ThoughtTally:
    """Reads events as they come until a thought is over; one that is not yet is shown as it is.

    Example: ``tally.add(events); tally.thought``.
    """

    def __init__(self, thinking: Thinking | None) -> None:
        self.thought: Thought | None = None
        self._thinking = thinking
        self._labels = dict(thinking.labels) if thinking else {}
        self._text = ""
        self._rows = self._tokens = 0
        self._seconds = 0.0
        self._is_over = thinking is None

    def add(self, events: Iterable[Event]) -> None:
        for event in events:
            if self._is_over:
                return
            if isinstance(event, RoundEvent):
                self._seconds = event.time_s
            elif isinstance(event, RejectedEvent):
                self._rows += 1
            elif isinstance(event, TokenEvent):
                self._count(event)

    def _count(self, event: TokenEvent) -> None:
        assert self._thinking is not None
        self._rows += 1
        self._tokens += 1
        self._text += self._labels.get(event.token_id) or event.text
        if not self._thinking.is_open and self._thinking.begin not in self._text:
            self._is_over = not self._thinking.begin.startswith(self._text.strip())
        elif self._thinking.end in self._text:
            self.thought = Thought(self._rows, self._tokens, self._seconds)
            self._is_over = True

    def head(self) -> dict[str, Any] | None:
        """Return what a page shows of it."""
        return {"rows": self.thought.rows, "title": self.thought.title} if self.thought else None
