"""What happened in one generation, as a value: save it, load it, look at it without a model."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from exsa_lab.errors import ConfigError
from exsa_lab.events import Event, RejectedEvent, RoundEvent, TokenEvent, from_json, to_json
from exsa_lab.trace.replay import Replay, replay

if TYPE_CHECKING:
    import pandas as pd

FORMAT = "exsa_lab.trace/1"


@dataclass(frozen=True)
class Trace:
    """The events of one generation plus how it was set up.

    Example::

        gen.trace.save("run.json")
        Trace.load("run.json").to_pandas().groupby("source").size()
    """

    events: list[Event]
    prompt: str = ""
    params: dict[str, Any] = field(default_factory=dict)
    config: dict[str, Any] = field(default_factory=dict)
    models: dict[str, str | None] = field(default_factory=dict)
    stats: dict[str, float] = field(default_factory=dict)
    prompt_ids: list[int] = field(default_factory=list)
    """The prompt's tokens as the target saw them, chat template included; empty in older files."""
    end_ids: list[int] = field(default_factory=list)
    """Those among them that end a text."""

    @property
    def tokens(self) -> list[int]:
        """The tokens generated."""
        return [event.token_id for event in self.events if isinstance(event, TokenEvent)]

    @property
    def text(self) -> str:
        return "".join(event.text for event in self.events if isinstance(event, TokenEvent))

    @property
    def rounds(self) -> list[RoundEvent]:
        return [event for event in self.events if isinstance(event, RoundEvent)]

    def to_pandas(self) -> pd.DataFrame:
        """Return one row per token, committed or not: position, text, source, p, q, u, round, k, accepted, times."""
        import pandas as pd

        rounds = {event.round: event for event in self.rounds}
        rows = [self._row(event, rounds) for event in self.events if isinstance(event, TokenEvent | RejectedEvent)]
        # Numbers that are all missing would make a column of objects, which cannot be averaged.
        return pd.DataFrame(rows).astype({"p": float, "q": float, "u": float} if rows else {})

    @staticmethod
    def _row(event: TokenEvent | RejectedEvent, rounds: dict[int, RoundEvent]) -> dict[str, Any]:
        committed = isinstance(event, TokenEvent)
        row: dict[str, Any] = {
            "position": event.position,
            "token_id": event.token_id,
            "text": event.text,
            "committed": committed,
            "source": str(event.source if isinstance(event, TokenEvent) else event.reason),
            "p": event.p,
            "q": event.q,
            "u": event.u,
            "round": event.round,
            "drafter": event.drafter,
        }
        if (current := rounds.get(event.round)) is not None:
            row |= {"k": current.k, "accepted_in_round": current.accepted, "why_k": str(current.reason)}
            row |= {"draft_s": current.draft_s, "verify_s": current.verify_s, "time_s": current.time_s}
        return row

    def summary(self) -> dict[str, Any]:
        """Return counts by source and rejection, acceptance by position in the draft, and the statistics."""
        sources = Counter(str(e.source) for e in self.events if isinstance(e, TokenEvent))
        rejections = Counter(str(e.reason) for e in self.events if isinstance(e, RejectedEvent))
        return {
            "tokens": sum(sources.values()),
            "sources": dict(sources),
            "rejected": dict(rejections),
            "rounds": len(self.rounds),
            "acceptance_by_position": self.acceptance_by_position(),
            **self.stats,
        }

    def acceptance_by_position(self) -> list[float]:
        """Return, for draft positions 1, 2, ..., the share of rounds that accepted it among those that drafted it."""
        longest = max((event.k for event in self.rounds), default=0)
        rates = []
        for place in range(1, longest + 1):
            drafted = [event for event in self.rounds if event.k >= place]
            rates.append(sum(event.accepted >= place for event in drafted) / len(drafted))
        return rates

    def replay(self, draft_length: int, drafter: str | None = None) -> Replay:
        """Return what another draft length would have done in this greedy run; see `exsa_lab.trace.replay`.

        ``drafter="ngram"`` asks for lookup instead of the drafter that was recorded.

        Example: ``[trace.replay(k).tokens_per_round for k in range(9)]`` of a run with ``draft_length=8``.
        """
        return replay(self, draft_length, drafter)

    # Files

    def to_json(self) -> dict[str, Any]:
        return {
            "format": FORMAT,
            "prompt": self.prompt,
            "prompt_ids": self.prompt_ids,
            "end_ids": self.end_ids,
            "params": self.params,
            "config": self.config,
            "models": self.models,
            "stats": self.stats,
            "events": [to_json(event) for event in self.events],
        }

    def save(self, path: str | Path) -> Path:
        """Write the trace as JSON; returns the path."""
        path = Path(path)
        path.write_text(json.dumps(self.to_json(), ensure_ascii=False), encoding="utf-8")
        return path

    @classmethod
    def load(cls, path: str | Path) -> Trace:
        """Read a trace written by `save`; raises ConfigError where the file is not one."""
        try:
            data = json.loads(Path(path).read_text(encoding="utf-8"))
            if data.pop("format") != FORMAT:
                raise KeyError("format")
            events = [from_json(event) for event in data.pop("events")]
            return cls(events=events, **data)
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as cause:
            raise ConfigError(
                f"{path} is not a trace: {cause!r}.", hint="Save one with gen.trace.save(path)."
            ) from cause
