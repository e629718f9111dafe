"""One text of a token strip, and what of it a page is told: the strip's generation, or a branch of one before it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from exsa_lab.events import Event, TokenEvent
from exsa_lab.widgets.rows import REJECTED_KINDS, Row, Tally, to_rows, visible
from exsa_lab.widgets.thought import ThoughtTally

MAX_ROWS = 2_000
"""Most rows in one message (about 100 kB), so that Jupyter's limit on output per second is never near."""
MAX_SNAPSHOT_ROWS = 20_000
"""Most rows, the last ones, that a view opened after the end gets (about 1 MB)."""


class Strand:
    """Rows of one generation, in their order. Whoever owns it holds a lock around its methods.

    A branch has only the rows that its parent has not: from ``position`` on.

    Example: ``strand.add(events); [*strand.messages(0)]``.
    """

    def __init__(self, number: int, gen: Any, *, parent: int | None = None, position: int = 0, label: str = "") -> None:
        self.number = number
        self.gen = gen
        self.parent = parent
        self.position = position
        self.label = label
        """The token that a branch begins with."""
        self.tally = Tally()
        self.rows: list[Row] = []
        self._thought = ThoughtTally(None)

    @property
    def is_final(self) -> bool:
        """Whether the end of the generation was added."""
        return self.tally.state.is_final

    @property
    def title(self) -> str:
        return f"Branch {self.number} at token {self.position}: {self.label}"

    def add(self, events: list[Event]) -> int:
        """Add events; returns the number of rows before."""
        start = len(self.rows)
        rows = to_rows(events)
        self.rows += rows if self.parent is None else [row for row in rows if row[0] != "k"]
        self.tally.add(events)
        if self.parent is None:
            if start == 0:  # How thoughts are marked is known once the prompt was read.
                self._thought = ThoughtTally(self.gen.thinking)
            self._thought.add(events)
        return start

    def own_events(self) -> list[Event]:
        """Return the events of a branch from its position on."""
        return [e for e in list(self.gen.events) if not (isinstance(e, TokenEvent) and e.position < self.position)]

    def messages(self, start: int) -> Iterator[dict[str, Any]]:
        """Yield what tells a page the rows from ``start`` on; at least the head."""
        for first in range(start, max(len(self.rows), start + 1), MAX_ROWS):
            yield {"type": "delta", "start": first, "rows": self.rows[first : first + MAX_ROWS], **self._about()}

    def snapshot(self) -> dict[str, Any]:
        """Return what a page that opens later needs: the last rows, and how many tokens came before them."""
        first = max(0, len(self.rows) - MAX_SNAPSHOT_ROWS)
        before = sum(row[0] != "R" and row[0] not in REJECTED_KINDS for row in self.rows[:first])
        return {"start": first, "before": before, "rows": self.rows[first:], **self._about()}

    def _about(self) -> dict[str, Any]:
        head = self.tally.head(self.gen.stats) | {"thought": self._thought.head()}
        if self.parent is None:
            return {"strand": self.number, "head": head}
        branch = {"parent": self.parent, "position": self.position, "label": visible(self.label)}
        return {"strand": self.number, "head": head, "branch": branch}
