"""What happened in one generation, as a value: save it, load it, look at it without a model."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from exsa_lab import files
from exsa_lab.config import SamplingParams
from exsa_lab.errors import shown
from exsa_lab.events import (
    MAX_NUMBER,
    MAX_ROUND_TOKENS,
    Event,
    RejectedEvent,
    RoundEvent,
    TokenEvent,
    from_json,
    to_json,
)
from exsa_lab.trace import picture
from exsa_lab.trace.replay import Replay, replay
from exsa_lab.widgets.page import write_page
from exsa_lab.widgets.run import run_of

if TYPE_CHECKING:
    import pandas as pd

FORMAT = "exsa_lab.trace/1"
_LOOK_NUMBERS = ("logprob", "surprisal", "entropy")


@dataclass(frozen=True, repr=False)
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

    def __repr__(self) -> str:
        return f"Trace({picture.line(self.events, self.stats, self.prompt)})"

    def _repr_html_(self) -> str:
        return picture.html(self.events, self.stats, self.prompt)

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
        """Return one row per token, committed or not: position, text, source, p, q, u, residual, round, k, times.

        Where alternatives were recorded there are ``logprob``, ``surprisal`` and ``entropy`` too, and ``top``, lists of
        `exsa_lab.events.Alternative`.
        """
        import pandas as pd

        rounds = {event.round: event for event in self.rounds}
        tokens = [event for event in self.events if isinstance(event, TokenEvent | RejectedEvent)]
        rows = [self._row(event, rounds) for event in tokens]
        if any(isinstance(event, TokenEvent) and event.logprob is not None for event in tokens):
            rows = [row | _look(event) for row, event in zip(rows, tokens, strict=True)]
        # Numbers that are all missing would make a column of objects, which cannot be averaged.
        numbers = [name for name in ("p", "q", "u", "residual", *_LOOK_NUMBERS) if rows and name in rows[0]]
        return pd.DataFrame(rows).astype(dict.fromkeys(numbers, float))

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
            "residual": event.residual if isinstance(event, TokenEvent) else None,
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
        longest = min(MAX_ROUND_TOKENS, max((event.k for event in self.rounds), default=0))
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

    def to_html(self, path: str | Path, *, title: str = "") -> Path:
        """Write the run as one web page: its tokens, and the step-through that plays it; returns the path.

        The page needs nothing but a browser: no kernel, no network, no other file. Raises ConfigError where it cannot
        be written.

        Example: ``gen.trace.to_html("run.html")``; several runs side by side are ``xl.race(traces=...).to_html(path)``.
        """
        return write_page(path, title or self.prompt[:80] or "A recorded run", [run_of(self)])

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
        """Write the trace as JSON, whole or not at all; returns the path. Raises ConfigError where that fails."""
        path = files.expand(path)
        with files.as_config_error(f"the trace could not be saved as {path}", hint="Is there room, and may you write?"):
            return files.write_json(path, self.to_json())

    @classmethod
    def load(cls, path: str | Path) -> Trace:
        """Read a trace written by `save`; raises ConfigError where the file is not one."""
        path = files.expand(path)
        with files.as_config_error(f"{path} is not a trace", hint="Save one with gen.trace.save(path)."):
            return cls.from_json(files.read_json(path))

    @classmethod
    def from_json(cls, data: Any) -> Trace:
        """Rebuild a trace from `to_json`; raises ValueError where the data is not one."""
        if not isinstance(data, dict) or data.get("format") != FORMAT:
            raise ValueError(f"its format is not {FORMAT}")
        unknown = data.keys() - _SCHEMA.keys() - {"format", "events"}
        if unknown:
            raise ValueError(f"it has the unknown part {shown(min(unknown))}")
        parts = {name: data[name] for name in _SCHEMA if name in data}
        for name, is_right in _SCHEMA.items():
            if name in parts and not is_right(parts[name]):
                raise ValueError(f"its {name} is {shown(parts[name])}")
        if not isinstance(events := data.get("events"), list):
            raise ValueError("it has no events")
        return cls(events=[from_json(event) for event in events], **parts)


def _look(event: TokenEvent | RejectedEvent) -> dict[str, Any]:
    """What alternatives add to a token's row; a refused one's place is that of the token that came instead."""
    if isinstance(event, RejectedEvent):
        return {**dict.fromkeys(_LOOK_NUMBERS), "top": []}
    return {name: getattr(event, name) for name in _LOOK_NUMBERS} | {"top": list(event.top)}


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 2**63


def _is_token_list(value: Any) -> bool:
    return isinstance(value, list) and all(type(token) is int and 0 <= token < MAX_NUMBER for token in value)


def _are_params(value: Any) -> bool:
    """What a run was asked for: those settings that are known here have to be possible."""
    if not isinstance(value, dict):
        return False
    names = {item.name for item in fields(SamplingParams)}
    SamplingParams(**{name: given for name, given in value.items() if name in names})  # a ConfigError is a ValueError
    return True


_SCHEMA: dict[str, Callable[[Any], bool]] = {
    "prompt": lambda value: isinstance(value, str),
    "params": _are_params,
    "config": lambda value: isinstance(value, dict),
    "models": lambda value: isinstance(value, dict) and all(isinstance(n, str | None) for n in value.values()),
    "stats": lambda value: isinstance(value, dict) and all(map(_is_number, value.values())),
    "prompt_ids": _is_token_list,
    "end_ids": _is_token_list,
}
