"""The one stream that widget, plots, statistics, replay and tests all read.

Events are frozen values with a JSON round trip. ``p`` and ``q`` are the target's and the draft's probability
of the token after the request's sampling chain; under greedy decoding, where the chain leaves one token,
they are the models' own probabilities at temperature 1, which say more.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from enum import StrEnum
from types import NoneType
from typing import Any, NamedTuple, get_args, get_origin, get_type_hints

from exsa_lab.errors import shown

__all__ = [
    "Alternative",
    "DraftReason",
    "Event",
    "PrefillEvent",
    "PromptTokenEvent",
    "RejectedEvent",
    "Rejection",
    "RoundEvent",
    "Source",
    "State",
    "StateEvent",
    "TokenEvent",
    "from_json",
    "to_json",
]


class Source(StrEnum):
    """Where a committed token came from."""

    TARGET = "target"
    """Decoded by the target, nothing was drafted for this place."""
    ACCEPTED = "accepted"
    """A draft token the target accepted."""
    RESAMPLED = "resampled"
    """The target's token in place of a rejected draft token."""
    BONUS = "bonus"
    """The target's extra token after a draft that was accepted whole."""
    FORCED = "forced"
    """Nothing else could follow, by the form of the text or the limit of a thought: no model was asked."""
    KEPT = "kept"
    """Taken over from the generation that this one branched off."""
    CHOSEN = "chosen"
    """Put in by who branched off there."""


class Rejection(StrEnum):
    """Why a draft token was not committed."""

    REFUSED = "refused"
    """Tested against the target and refused."""
    DISCARDED = "discarded"
    """Never tested: it stood after a refused token or after the end of the text."""


class DraftReason(StrEnum):
    """Why this round used this draft length."""

    FIXED = "fixed by user"
    MEASURED_GAIN = "measured gain"
    CANNOT_WIN = "cannot win"
    PROBING = "probing"
    NOT_WORTH_IT = "not worth it now"
    NO_DRAFTER = "no drafter"
    FORCED = "forced by the form"
    FIRST_TOKEN = "first token"
    PROMPTS = "none beside prompts"
    REPRODUCIBLE = "none in company, to be reproducible"


class State(StrEnum):
    """Life of a generation: waiting -> running -> one of the three final states."""

    WAITING = "waiting"
    RUNNING = "running"
    FINISHED = "finished"
    CANCELLED = "cancelled"
    FAILED = "failed"

    @property
    def is_final(self) -> bool:
        return self in (State.FINISHED, State.CANCELLED, State.FAILED)


class Alternative(NamedTuple):
    """One token that might have come at a position."""

    token_id: int
    text: str
    """How the token is shown, control tokens by their name."""
    raw: float
    """The target's probability of it as the model gave it: softmax of the logits, before anything else."""
    p: float | None
    """The same after all that was asked for, as an event's ``p`` is: biases, penalties, form and sampling chain; under
    greedy decoding at temperature 1. None in a prompt, where nothing was chosen."""
    q: float | None
    """The drafter's probability of it, as an event's ``q`` is; None where nothing was drafted."""


MAX_TOP = 20
"""Most alternatives of a position."""


@dataclass(frozen=True, slots=True)
class TokenEvent:
    """One committed token. ``text`` may be empty while a character is still incomplete."""

    position: int
    """Index in the generated tokens, from 0."""
    token_id: int
    text: str
    source: Source
    p: float | None
    """None where nobody looked while a greedy round was decoded, so that it was not computed."""
    q: float | None
    """None where nothing was drafted, or as for ``p``."""
    u: float | None
    """The uniform draw that decided, None under greedy decoding."""
    round: int
    drafter: str | None = None
    """Name of the drafter that proposed it, None where nothing was drafted."""
    logprob: float | None = None
    """Natural logarithm of its ``raw`` probability, see `Alternative`; -9999 where that is 0. This and what
    follows need ``top_logprobs``; tokens that close a thought have none: no model was asked."""
    entropy: float | None = None
    """Of the raw distribution it was chosen from, in bits."""
    top: tuple[Alternative, ...] = ()
    """The most probable tokens of that distribution, best first; its own token need not be among them."""
    residual: float | None = None
    """Its probability in the residual, max(p - q, 0) made to sum to 1, from which it was drawn in place of a refused
    token; None for all others, under greedy decoding, and in older files."""

    @property
    def surprisal(self) -> float | None:
        """How unexpected it was, in bits: 0 for a token that was certain."""
        return _bits(self.logprob)


@dataclass(frozen=True, slots=True)
class PromptTokenEvent:
    """One token of the prompt, where ``prompt_logprobs`` asked for it. The first one follows nothing."""

    position: int
    """Index in the prompt, from 0."""
    token_id: int
    text: str
    logprob: float | None
    """Natural logarithm of the target's probability of it after what stands before it."""
    top: tuple[Alternative, ...] = ()

    @property
    def surprisal(self) -> float | None:
        """How unexpected it was, in bits."""
        return _bits(self.logprob)


def _bits(logprob: float | None) -> float | None:
    return None if logprob is None else max(0.0, -logprob / math.log(2))


@dataclass(frozen=True, slots=True)
class RejectedEvent:
    """One draft token that was not committed, at the place where it would have stood."""

    position: int
    token_id: int
    text: str
    reason: Rejection
    p: float | None
    """None where it was never tested."""
    q: float | None
    u: float | None
    round: int
    drafter: str | None = None


@dataclass(frozen=True, slots=True)
class RoundEvent:
    """One draft-verify-accept round of one sequence. Times in seconds are those of the whole shared step."""

    round: int
    k: int
    """Draft tokens proposed for this sequence."""
    accepted: int
    batch_tokens: int
    batch_sequences: int
    draft_s: float
    verify_s: float
    sample_s: float
    reason: DraftReason = DraftReason.FIXED
    drafter: str | None = None
    time_s: float = 0.0
    """Seconds since submission when the round was committed."""
    looked_up_in: int | None = None
    """Id of the generation whose text the draft was looked up in; None where that was its own."""
    looked_up_cell: int | None = None
    """The notebook's cell, by its execution count, that made this text; None where no cell did."""


@dataclass(frozen=True, slots=True)
class PrefillEvent:
    """One chunk of the prompt was computed (or, with ``cached``, taken from the prefix cache)."""

    start: int
    tokens: int
    cached: bool
    prompt_tokens: int
    time_s: float = 0.0


@dataclass(frozen=True, slots=True)
class StateEvent:
    """The generation changed state. ``detail`` is the finish reason or the error's text."""

    state: State
    detail: str = ""
    time_s: float = 0.0


Event = TokenEvent | RejectedEvent | RoundEvent | PrefillEvent | StateEvent | PromptTokenEvent

_KINDS: dict[str, type[Any]] = {
    "token": TokenEvent,
    "rejected": RejectedEvent,
    "round": RoundEvent,
    "prefill": PrefillEvent,
    "state": StateEvent,
    "prompt_token": PromptTokenEvent,
}
_NAMES = {cls: name for name, cls in _KINDS.items()}
EVENT_TYPES: tuple[type[Any], ...] = tuple(_KINDS.values())


def _kinds_of(hint: Any) -> tuple[Any, ...]:
    """The types a field may have; ``tuple`` stands for alternatives, the only values that hold others."""
    return (tuple,) if get_origin(hint) is tuple else get_args(hint) or (hint,)


_HINTS = {
    cls: {name: _kinds_of(hint) for name, hint in get_type_hints(cls).items()} for cls in (*EVENT_TYPES, Alternative)
}

MAX_NUMBER = 1 << 31
"""No position, token or count of a recorded run is larger."""
MAX_ROUND_TOKENS = 1024
"""Nor does a round draft more."""


def to_json(event: Event) -> dict[str, Any]:
    """Return the event as a plain dictionary, its kind under ``"event"``."""
    return {"event": _NAMES[type(event)], **asdict(event)}


def from_json(data: Any) -> Event:
    """Rebuild an event from `to_json`; raises ValueError where the data is not one, in whatever way."""
    if not isinstance(data, dict) or not isinstance(data.get("event"), str) or data["event"] not in _KINDS:
        raise ValueError(f"{shown(data)} is no event")
    values = dict(data)
    return checked_event(_KINDS[values.pop("event")], values)


def checked_event(cls: type[Any], values: dict[str, Any]) -> Event:
    """Build an event of values from outside; raises ValueError where one is of another type or out of reach."""
    hints = _HINTS[cls]
    checked = {name: _checked(name, value, hints.get(name, ())) for name, value in values.items()}
    try:
        event: Event = cls(**checked)
    except TypeError as cause:
        raise ValueError(f"{shown(values)} is no event") from cause
    if isinstance(event, RoundEvent) and not event.accepted <= event.k <= MAX_ROUND_TOKENS:
        raise ValueError(f"a round of {event.k} draft tokens, {event.accepted} of them accepted")
    return event


def _checked(name: str, value: Any, kinds: tuple[Any, ...]) -> Any:
    """A field's value, where it is of one of the field's types and in reach."""
    for kind in kinds:
        if kind is NoneType:
            if value is None:
                return None
        elif kind is int:
            if type(value) is int and 0 <= value < MAX_NUMBER:
                return value
        elif kind is float:
            if isinstance(value, int | float) and type(value) is not bool and abs(value) < MAX_NUMBER:
                return value
        elif kind is tuple:
            if isinstance(value, list | tuple) and len(value) <= MAX_TOP:
                return tuple(map(_checked_alternative, value))
        elif issubclass(kind, StrEnum):
            return kind(value)
        elif type(value) is kind:
            return value
    raise ValueError(f"{shown(name)} is {shown(value)}")


def _checked_alternative(values: Any) -> Alternative:
    if not isinstance(values, list | tuple) or len(values) != len(Alternative._fields):
        raise ValueError(f"{shown(values)} is no alternative")
    hints = _HINTS[Alternative]
    return Alternative(*(_checked(name, value, hints[name]) for name, value in zip(hints, values, strict=True)))
