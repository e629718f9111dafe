"""What another draft length would have done, from a recorded run, without a model.

Under greedy decoding the text does not depend on the drafts (up to numerics), and neither does what the draft model
proposes after a given beginning of the text. So a run recorded with a long draft length tells, position by position,
whether the draft's choice there *given the committed text before it* was the committed token:

* an accepted token: yes. A refused one, in whose place the target's token stands: no.
* the target's extra token after a draft accepted whole, or after no draft: unknown, nobody asked the draft there.
* what was drafted after a refused token was drafted after another text, and says nothing.

Any other draft length walks over the same positions, only its rounds begin elsewhere. Where a walk asks an unknown
position the answer is extrapolated: `Replay` then gives the expected value, and bounds that hold whatever the answers
are. (A round that begins later never ends earlier, so more right drafts can only mean fewer rounds.)

A looked-up draft depends on nothing but the text before it. A trace that holds its prompt's tokens is therefore enough
to look up again, exactly, whoever drafted in the recorded run. Where they are missing (older files), a looked-up draft
is known only for rounds that were recorded.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from exsa_lab.config import MAX_DRAFT_LENGTH, whole
from exsa_lab.costs.model import CostModel
from exsa_lab.errors import ConfigError, shown
from exsa_lab.events import Event, RejectedEvent, Rejection, RoundEvent, Source, TokenEvent
from exsa_lab.speculation.ngram import NgramIndex, num_right


class RecordedRun(Protocol):
    """What a replay reads of a recorded run; `exsa_lab.Trace` is one."""

    @property
    def events(self) -> Sequence[Event]: ...
    @property
    def params(self) -> dict[str, Any]: ...
    @property
    def models(self) -> dict[str, str | None]: ...
    @property
    def prompt_ids(self) -> list[int]: ...
    @property
    def end_ids(self) -> list[int]: ...
    @property
    def tokens(self) -> list[int]: ...
    @property
    def rounds(self) -> list[RoundEvent]: ...


@dataclass(frozen=True, slots=True)
class Replay:
    """What a draft length would have done. Expected values where the record does not tell; see `is_exact`."""

    draft_length: int
    tokens: int
    """Tokens generated, the same for every draft length."""
    rounds: float
    """Passes of the target, the one that gave the first token included."""
    fewest_rounds: int
    """If every unknown draft token had been right."""
    most_rounds: int
    """If every unknown draft token had been wrong."""
    drafted: float
    """Draft tokens. A draft that would have proposed the end of the text early is counted at its full length where
    the record does not show it."""
    accepted: float
    unknown: float
    """How often the record was asked for an outcome it does not hold."""
    by_length: tuple[float, ...]
    """Rounds by the draft tokens they verified: 0, 1, 2, ..."""
    drafter: str = "model"

    @property
    def is_exact(self) -> bool:
        """Whether the record holds every outcome this draft length needs: rounds and accepted are then what a real
        run would do, up to numerics."""
        return self.unknown == 0

    @property
    def acceptance_rate(self) -> float:
        """Accepted draft tokens by drafted tokens."""
        return self.accepted / self.drafted if self.drafted else 0.0

    @property
    def tokens_per_round(self) -> float:
        return self.tokens / self.rounds if self.rounds else 0.0

    def seconds(self, costs: CostModel) -> float:
        """Time of its decodes by measured costs; looked-up drafts cost nothing but their verification."""
        draft_s = self.drafted * costs.draft_seconds(1) if self.drafter == "model" and self.drafted else 0.0
        return draft_s + sum(count * costs.step_seconds(1 + k) for k, count in enumerate(self.by_length) if count)

    def speed_up(self, costs: CostModel) -> float:
        """Speed against plain decoding of the same text, by measured costs."""
        return self.tokens * costs.step_seconds(1) / self.seconds(costs) if self.tokens else 1.0

    def __str__(self) -> str:
        if self.is_exact:
            rounds, note = f"{self.rounds:.0f}", "exact"
        else:
            rounds = f"about {self.rounds:.1f} ({self.fewest_rounds} to {self.most_rounds})"
            note = f"{self.unknown:.1f} draft tokens extrapolated"
        drafts = f"{self.accepted:.0f} of {self.drafted:.0f} drafted accepted" if self.drafted else "nothing drafted"
        return (
            f"draft length {self.draft_length}: {rounds} rounds, {self.tokens_per_round:.2f} tokens per round, "
            f"{drafts}, {note}"
        )


def replay(trace: RecordedRun, draft_length: int, drafter: str | None = None) -> Replay:
    """Return what ``draft_length`` would have done in the place of the recorded one.

    ``drafter`` is "model" or "ngram"; None means the recorded one. For the model, record with a long fixed draft
    length (8, say): every shorter one can then be told nearly exactly, a longer one only in part. Lookup needs no such
    care: any trace with its prompt's tokens tells exactly what its own text gives; what other texts would have given
    (`EngineConfig.lookup_history`) is not in it. Room in the KV cache and preemption are not modelled.

    Raises ConfigError where the text would have been another: with a temperature, what a model drafts changes it.
    """
    draft_length = whole("draft_length", draft_length, 0, MAX_DRAFT_LENGTH)
    if drafter not in (None, "model", "ngram"):
        raise ConfigError(f"drafter is {shown(drafter)}.", hint='It must be "model" or "ngram".')
    wanted = drafter or _recorded_drafter(trace)
    drafters = {event.drafter for event in trace.rounds}
    # Looked-up drafts leave the draws as they are, so a text that no model drafted for is the same for all lengths.
    if trace.params.get("temperature", 0) != 0 and (wanted == "model" or "model" in drafters):
        raise ConfigError(
            "only a greedy run can be replayed: with a temperature the text depends on what was drafted.",
            hint="Record one with temperature=0 and a draft_length of 8, say.",
        )
    if wanted == "ngram" and trace.prompt_ids:
        return _look_up(trace, draft_length)
    if wanted == "ngram" and "ngram" not in drafters and trace.params.get("drafter") != "ngram":
        raise ConfigError("this trace does not hold its prompt's tokens.", hint="Record it again to replay lookup.")
    return _walk(_Record(trace, wanted), draft_length, wanted)


def _recorded_drafter(trace: RecordedRun) -> str:
    """Who a fixed draft length would have asked in this run: "auto" means the draft model where there is one."""
    drafters = {event.drafter for event in trace.rounds}
    wanted = trace.params.get("drafter")
    if wanted in ("model", "ngram"):
        return str(wanted)
    return "ngram" if "ngram" in drafters and "model" not in drafters and not trace.models.get("draft") else "model"


def lookup_index(trace: RecordedRun) -> NgramIndex:
    """Return the index that the engine would have had after the prompt."""
    return NgramIndex(trace.prompt_ids, frozenset(trace.end_ids).__contains__)


def _look_up(trace: RecordedRun, draft_length: int) -> Replay:
    """Look up along the text, as the engine would have: it is known, and so is every outcome."""
    text = trace.tokens
    max_tokens = int(trace.params.get("max_tokens", len(text)))
    index = lookup_index(trace)
    by_length = [0.0] * (draft_length + 1)
    start = accepted = 0
    while start < len(text):
        # The first token comes from the prompt's last logits: nothing can be drafted for it.
        proposed, _ = index.propose(min(draft_length, max_tokens - start - 1) if start else 0)
        rest = text[start:]
        right = num_right(proposed, rest)
        by_length[len(proposed)] += 1
        accepted += right
        index.learn(rest[: right + 1])
        start += right + 1
    rounds, drafted = sum(by_length), sum(k * count for k, count in enumerate(by_length))
    return Replay(
        draft_length, len(text), rounds, int(rounds), int(rounds), drafted, accepted, 0.0, tuple(by_length), "ngram"
    )


class _Known(NamedTuple):
    """Whether the draft token at a position would have been accepted."""

    chance: float
    is_recorded: bool
    is_silent: bool = False
    """Nothing was proposed here, although more was allowed."""


class _Tail(NamedTuple):
    """Draft tokens that followed a refused one, or the end of the text."""

    length: int
    is_over: bool
    """The draft ended by itself, so it would not have become longer."""


class _Record:
    """What the events tell about each position of the text."""

    def __init__(self, trace: RecordedRun, drafter: str) -> None:
        self.tokens = [event for event in trace.events if isinstance(event, TokenEvent)]
        self.max_tokens = int(trace.params.get("max_tokens", len(self.tokens)))
        wanted = trace.params.get("draft_length", 0)
        self._lookahead = wanted if isinstance(wanted, int) else None
        self._looks_up = drafter == "ngram"
        # What another drafter proposed says nothing about this one.
        others = {event.round for event in trace.rounds if event.drafter not in (drafter, None)}
        self._outcomes = {event.position: None if event.round in others else _outcome(event) for event in self.tokens}
        known = Counter(outcome for outcome in self._outcomes.values() if outcome is not None)
        self.rate = known[True] / known.total() if known else 0.5
        self._round_of = {event.position: event.round for event in self.tokens}
        self._starts: dict[int, int] = {}
        for event in self.tokens:
            self._starts.setdefault(event.round, event.position)
        self._tails = self._read_tails(trace)
        ends = {event.round: event.position for event in self.tokens}
        self._silent = {ends[event.round] for event in trace.rounds if self._looks_up and self._fell_short(event)}

    def __len__(self) -> int:
        return len(self.tokens)

    def is_first(self, position: int) -> bool:
        """The first token comes from the prompt's last logits: nothing can be drafted for it."""
        return position == 0

    def at(self, position: int, start: int) -> _Known:
        """Whether a round that begins at ``start`` would have had its draft token accepted at ``position``."""
        outcome = self._outcomes[position]
        # A looked-up draft is known only where its own round began; elsewhere the same outcome is the best guess.
        is_recorded = not self._looks_up or self._starts[self._round_of[position]] == start
        if position in self._silent:
            return _Known(0.0, is_recorded, is_silent=True)
        return _Known(self.rate, False) if outcome is None else _Known(float(outcome), is_recorded)

    def tail(self, position: int, most: int) -> int:
        """Draft tokens that would have followed the one refused (or the last of the text) at ``position``."""
        tail = self._tails.get(position)
        return min(most, tail.length) if tail is not None and tail.is_over else most

    def _read_tails(self, trace: RecordedRun) -> dict[int, _Tail]:
        discarded = Counter(
            event.round
            for event in trace.events
            if isinstance(event, RejectedEvent) and event.reason is Rejection.DISCARDED
        )
        ends = {event.round: event.position for event in self.tokens}
        return {ends[event.round]: self._tail(event, discarded[event.round]) for event in trace.rounds if event.k}

    def _tail(self, event: RoundEvent, length: int) -> _Tail:
        return _Tail(length, event.k < self._allowed(event))

    def _fell_short(self, event: RoundEvent) -> bool:
        """The draft was accepted whole, and would have been longer had there been more to propose."""
        return event.k == event.accepted < self._allowed(event) and not self.is_first(self._starts[event.round])

    def _allowed(self, event: RoundEvent) -> int:
        return min(self._lookahead or 0, self.max_tokens - self._starts[event.round] - 1)


def _outcome(event: TokenEvent) -> bool | None:
    """Whether the draft, asked here, was right; None where it was not asked."""
    return {Source.ACCEPTED: True, Source.RESAMPLED: False}.get(event.source)


class _Step(NamedTuple):
    """One way a round can go."""

    chance: float
    next_start: int
    accepted: int
    drafted: int


def _walk(record: _Record, draft_length: int, drafter: str) -> Replay:
    """Expected values by recursion from the end of the text; bounds by taking unknown outcomes as right or wrong."""
    size = len(record)
    by_length: NDArray[np.float64] = np.zeros((size + 1, draft_length + 1))
    accepted, unknown = [0.0] * (size + 1), [0.0] * (size + 1)
    fewest, most = [0] * (size + 1), [0] * (size + 1)
    for start in reversed(range(size)):
        for step in _steps(record, start, draft_length):
            by_length[start] += step.chance * by_length[step.next_start]
            by_length[start, step.drafted] += step.chance
            accepted[start] += step.chance * (step.accepted + accepted[step.next_start])
            unknown[start] += step.chance * unknown[step.next_start]
        unknown[start] += sum(_asked(record, start, draft_length))
        fewest[start] = 1 + fewest[_next(record, start, draft_length, True)]
        most[start] = 1 + most[_next(record, start, draft_length, False)]
    counts = by_length[0]
    rounds, drafted = float(counts.sum()), float(counts @ np.arange(draft_length + 1))
    return Replay(
        draft_length,
        size,
        rounds,
        fewest[0],
        most[0],
        drafted,
        accepted[0],
        unknown[0],
        tuple(counts.tolist()),
        drafter,
    )


def _limit(record: _Record, start: int, draft_length: int) -> int:
    """Draft tokens of a round: none before the first token, and never more than may still be generated."""
    return 0 if record.is_first(start) else max(0, min(draft_length, record.max_tokens - start - 1))


def _steps(record: _Record, start: int, draft_length: int) -> Iterator[_Step]:
    """Every way a round from ``start`` can go, with its chance."""
    limit = _limit(record, start, draft_length)
    chance = 1.0
    for index in range(limit):
        position = start + index
        known = record.at(position, start)
        if known.chance < 1:
            length = index if known.is_silent else index + 1 + record.tail(position, limit - index - 1)
            yield _Step(chance * (1 - known.chance), position + 1, index, length)
        chance *= known.chance
        if not chance:
            return
        if position == len(record) - 1:  # the text ended with an accepted draft token
            yield _Step(chance, position + 1, index + 1, index + 1 + record.tail(position, limit - index - 1))
            return
    yield _Step(chance, start + limit + 1, limit, limit)


def _asked(record: _Record, start: int, draft_length: int) -> Iterator[float]:
    """The chance that each unrecorded outcome is asked for by a round from ``start``."""
    chance = 1.0
    for position in range(start, min(len(record), start + _limit(record, start, draft_length))):
        known = record.at(position, start)
        if not known.is_recorded:
            yield chance
        chance *= known.chance
        if not chance:
            return


def _next(record: _Record, start: int, draft_length: int, is_right: bool) -> int:
    """Where the next round begins if unrecorded draft tokens are all right, or all wrong."""
    limit = _limit(record, start, draft_length)
    for position in range(start, min(len(record), start + limit)):
        known = record.at(position, start)
        if not (known.chance == 1 if known.is_recorded else is_right):
            return position + 1
    return min(len(record), start + limit + 1)
