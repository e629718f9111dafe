"""A recorded run as a page gets it: the rows of `rows`, plus when each round was and how long its parts took.

The page plays it by itself: step-through, race and the page that `Trace.to_html` writes all read this, and none of them
needs a kernel.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import SimpleNamespace
from typing import Any, Protocol

from exsa_lab.events import Event, RoundEvent, StateEvent
from exsa_lab.widgets.rows import Row, Tally, to_rows, visible

MAX_ROUNDS = 2_000
"""Rounds shown, the first ones (about 1 MB)."""
PROMPT_CHARS = 400
END = "⟨end of text⟩"
COMMITTED_KINDS = "tabrfkc"


class Recorded(Protocol):
    """What is read of a recorded run; a `Trace` is one."""

    @property
    def events(self) -> Sequence[Event]: ...
    @property
    def rounds(self) -> Sequence[RoundEvent]: ...
    @property
    def prompt(self) -> str: ...
    @property
    def params(self) -> Mapping[str, Any]: ...
    @property
    def models(self) -> Mapping[str, str | None]: ...
    @property
    def stats(self) -> Mapping[str, float]: ...


def run_of(recorded: Recorded) -> dict[str, Any]:
    """Return what the page needs of a run, as JSON.

    ``times`` has for each round: draft, verify and sample in ms, tokens of the step, and its end in ms since
    submission. ``head`` is what the token strip says above the text.
    """
    rounds = recorded.rounds
    last = rounds[MAX_ROUNDS - 1].round if len(rounds) > MAX_ROUNDS else None
    rows = [row for row in rows_of(recorded) if last is None or _round_of(row) <= last]
    return {
        "prompt": visible(recorded.prompt[-PROMPT_CHARS:]),
        "rows": rows,
        "times": {str(event.round): _times(event) for event in rounds[:MAX_ROUNDS]},
        "prompt_tokens": int(recorded.stats.get("prompt_tokens", 0)),
        "greedy": recorded.params.get("temperature", 0) == 0,
        "models": dict(recorded.models),
        "left_out": max(0, len(rounds) - MAX_ROUNDS),
        "head": _head(recorded),
    }


def rows_of(recorded: Recorded) -> list[Row]:
    """Return the rows of a run; the token that ended the text, which has none, says so."""
    rows = to_rows(recorded.events)
    last = next((row for row in reversed(rows) if row[0] in COMMITTED_KINDS), None)
    is_ended = any(isinstance(event, StateEvent) and event.detail == "stop" for event in recorded.events)
    if last is not None and is_ended and not last[2]:
        last[2] = END
    return rows


def _head(recorded: Recorded) -> dict[str, Any]:
    tally = Tally()
    tally.add(recorded.events)
    stats = SimpleNamespace(**{name: recorded.stats.get(name, 0.0) for name in ("tokens_per_second", "ttft_s")})
    return tally.head(stats)


def _times(event: RoundEvent) -> list[float]:
    draft, verify, sample = (round(1000 * s, 3) for s in (event.draft_s, event.verify_s, event.sample_s))
    return [draft, verify, sample, event.batch_tokens, round(1000 * event.time_s, 3)]


def _round_of(row: Row) -> int:
    return int(row[1] if row[0] == "R" else row[6])
