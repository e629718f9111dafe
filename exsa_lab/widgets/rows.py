"""Events as compact rows and a few headline numbers: what the live strip and its static view both show.

A row is a short list, first its kind: one letter of `TOKEN_KINDS` for a token, ``"R"`` for a round. The second kind of
token has its alternatives, and two numbers in bits; the third was drawn from the residual.

    [kind, token_id, text, p, q, u, round]
    [kind, token_id, text, p, q, u, round, [[token_id, text, raw, p, q], ...], surprisal, entropy]
    ["r", token_id, text, p, q, u, round, [...] or [], surprisal, entropy, residual]
    ["R", round, k, accepted, step_ms, time_s, reason, drafter, batch_sequences, looked_up_in]
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable
from typing import Any, NamedTuple

from exsa_lab.events import (
    Alternative,
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
from exsa_lab.scatter import of_one_run

Row = list[Any]


class Kind(NamedTuple):
    """How one kind of token is called and explained."""

    name: str
    meaning: str


TOKEN_KINDS: dict[str, Kind] = {
    "t": Kind("target", "decoded by the target, nothing was drafted here"),
    "a": Kind("accepted", "drafted, and accepted by the target"),
    "b": Kind("bonus", "the target's extra token after a draft that was accepted whole"),
    "r": Kind("resampled", "the target's token in place of a refused draft token"),
    "f": Kind("forced", "nothing else could follow here, so no model was asked"),
    "k": Kind("kept", "taken over from the text that this one branched off"),
    "c": Kind("chosen", "put in by who branched off here"),
    "x": Kind("refused", "drafted, tested against the target and refused"),
    "d": Kind("discarded", "drafted after a refused token or after the end of the text, so never used"),
}
REJECTED_KINDS = "xd"
_NOT_GENERATED = REJECTED_KINDS + "kc"
_NUM_PLAIN = 7
"""Length of a row without alternatives."""
RESIDUAL = 10
"""Place in a row of the residual's probability."""

_SOURCE_KINDS = {
    Source.TARGET: "t",
    Source.ACCEPTED: "a",
    Source.BONUS: "b",
    Source.RESAMPLED: "r",
    Source.FORCED: "f",
    Source.KEPT: "k",
    Source.CHOSEN: "c",
}
_REJECTION_KINDS = {Rejection.REFUSED: "x", Rejection.DISCARDED: "d"}

# Everything that could act on a terminal, reorder the line or hide in it. Newline and tab stay; so do the joiners
# U+200C and U+200D, which Persian and emoji need.
_HIDDEN = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\xad\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb"
    "\U000e0000-\U000e007f]"
)
_SURROGATES = re.compile("[\ud800-\udfff]")


def visible(text: str) -> str:
    """Return the text with control, bidirectional and invisible characters as visible signs.

    Example: ``visible("\\x1b[31m")`` is ``"␛[31m"``; U+202E, which turns a line around, becomes ``⟨U+202E⟩``.
    """
    return _HIDDEN.sub(_sign, _SURROGATES.sub("\ufffd", text))


def _sign(match: re.Match[str]) -> str:
    code = ord(match.group())
    if code < 0x20:
        return chr(0x2400 + code)
    return "\u2421" if code == 0x7F else f"⟨U+{code:04X}⟩"


def to_rows(events: Iterable[Event]) -> list[Row]:
    """Return the rows of the events that have one, in their order."""
    rows = []
    for event in events:
        match event:
            case TokenEvent():
                rows.append(_token_row(_SOURCE_KINDS[event.source], event))
            case RejectedEvent():
                rows.append(_token_row(_REJECTION_KINDS[event.reason], event))
            case RoundEvent():
                rows.append(_round_row(event))
    return rows


def _token_row(kind: str, event: TokenEvent | RejectedEvent) -> Row:
    p, q, u = (_short(value) for value in (event.p, event.q, event.u))
    row: Row = [kind, event.token_id, visible(event.text), p, q, u, event.round]
    if isinstance(event, TokenEvent) and (event.logprob is not None or event.top):
        row += [[_alternative(other) for other in event.top], _short(event.surprisal), _short(event.entropy)]
    if isinstance(event, TokenEvent) and event.residual is not None:
        row += [*([[], None, None] if len(row) == _NUM_PLAIN else []), _short(event.residual)]
    return row


def _alternative(other: Alternative) -> Row:
    return [other.token_id, visible(other.text), _short(other.raw), _short(other.p), _short(other.q)]


def _round_row(event: RoundEvent) -> Row:
    step_ms = _short(1000 * (event.draft_s + event.verify_s + event.sample_s)) or 0.0
    time_s, reason = _short(event.time_s) or 0.0, str(event.reason)
    numbers = [event.round, event.k, event.accepted, step_ms, time_s]
    source = f"generation {event.looked_up_in}" if event.looked_up_cell is None else f"cell {event.looked_up_cell}"
    return ["R", *numbers, reason, event.drafter, event.batch_sequences, source if event.looked_up_in else None]


def _short(value: float | None) -> float | None:
    """Four significant digits are all anyone reads; NaN and infinity are not JSON."""
    return None if value is None or not math.isfinite(value) else float(f"{value:.4g}")


class Tally:
    """Headline numbers of one generation, added up from its events."""

    def __init__(self) -> None:
        self.state = State.WAITING
        self.detail = ""
        self.counts: Counter[str] = Counter()
        self.drafted = 0
        self.accepted = 0
        self.rounds = 0
        self.last_round: RoundEvent | None = None
        self._all_rounds: list[RoundEvent] = []
        self.prefill: PrefillEvent | None = None
        self.cached: PrefillEvent | None = None
        self.notes = ""
        self._first_s = 0.0
        self._first_count = 0

    def add(self, events: Iterable[Event]) -> None:
        for event in events:
            match event:
                case TokenEvent():
                    self.counts[_SOURCE_KINDS[event.source]] += 1
                case RejectedEvent():
                    self.counts[_REJECTION_KINDS[event.reason]] += 1
                case RoundEvent():
                    self._add_round(event)
                case PrefillEvent():
                    self.prefill = event
                    self.cached = self.cached or (event if event.cached else None)
                case StateEvent():
                    if event.state is State.WAITING and not self.prefill:  # else it was preempted
                        self.notes = event.detail
                    self.state, self.detail = event.state, event.detail

    def _add_round(self, event: RoundEvent) -> None:
        if self.last_round is None:
            self._first_s, self._first_count = event.time_s, max(1, self.generated)
        self.rounds += 1
        self.drafted += event.k
        self.accepted += event.accepted
        self.last_round = event
        self._all_rounds.append(event)

    @property
    def generated(self) -> int:
        return sum(self.counts[kind] for kind in TOKEN_KINDS if kind not in _NOT_GENERATED)

    @property
    def rejected(self) -> int:
        return sum(self.counts[kind] for kind in REJECTED_KINDS)

    @property
    def tokens_per_second(self) -> float:
        """Decode speed: tokens after the first round, by the time they took."""
        elapsed = self.last_round.time_s - self._first_s if self.last_round else 0.0
        return (self.generated - self._first_count) / elapsed if elapsed > 0 else 0.0

    def head(self, stats: Any = None) -> dict[str, Any]:
        """Return the numbers of the header as JSON; speed and TTFT come from ``stats`` (a `Stats`) where given."""
        last, prefill, cached = self.last_round, self.prefill, self.cached
        return {
            "state": str(self.state),
            "final": self.state.is_final,
            "generated": self.generated,
            "rejected": self.rejected,
            "tok_s": _short(getattr(stats, "tokens_per_second", 0.0) or self.tokens_per_second),
            "sure": of_one_run(self._all_rounds) if self.state.is_final else "so far",
            "ttft_s": _short(getattr(stats, "ttft_s", 0.0) or self._first_s),
            "acceptance": _short(self.accepted / self.drafted) if self.drafted else None,
            "drafted": [self.accepted, self.drafted] if self.drafted else None,
            "per_round": _short(self.generated / self.rounds) if self.rounds else None,
            "k": last.k if last else None,
            "reason": str(last.reason) if last else "",
            "prefill": [prefill.start + prefill.tokens, prefill.prompt_tokens] if prefill and not last else None,
            "cached": [cached.tokens, cached.prompt_tokens] if cached else None,
            "notes": visible(self.notes),
            "summary": self.summary() if self.state.is_final else "",
        }

    def summary(self) -> str:
        """Return one or two sentences that say how it went."""
        total = _count(self.generated, "token")
        if self.drafted or self.rejected:
            text = (
                f"{self.counts['a']} of {total} came from accepted drafts; "
                f"{_count(self.rejected, 'draft token')} rejected."
            )
        else:
            text = f"{total} from the target alone, nothing was drafted." if self.generated else "No tokens."
        if self.state is State.CANCELLED:
            return f"Cancelled. {text}"
        if self.state is State.FAILED:
            return f"Failed: {visible(self.detail) or 'no reason given'} {text}"
        return text + (" Stopped at the token limit." if self.detail == "length" else "")


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
