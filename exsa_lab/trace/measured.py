"""Recorded runs as measurements of what a draft length really gained."""

from __future__ import annotations

import statistics
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

from exsa_lab.trace.trace import Trace

MIN_TOKENS = 8
"""A shorter run says nothing about speed."""


@dataclass(frozen=True, slots=True)
class MeasuredSpeed:
    """Runs of one setting against plain decoding."""

    name: str
    """Such as "k = 4", "lookup, k = 4", "auto"."""
    draft_length: float
    """The fixed one; else the mean of the rounds that drafted."""
    speed_up: float
    """The median run's speed by the speed of plain decoding."""
    low: float
    high: float
    """The slowest and the fastest run; the same as the median where there is one run."""
    runs: int
    acceptance: float
    """Accepted by tested draft tokens of all runs."""


@dataclass(frozen=True, slots=True)
class PlainSpeed:
    """What runs are compared with."""

    tokens_per_second: float
    runs: int
    """How many plain runs it is the median of; 0: none was recorded, and it is the calibrated cost of a step."""


def plain_speed(traces: Iterable[Trace], step_seconds: float) -> PlainSpeed:
    """Return the median speed of runs that drafted nothing; where there is none, that of ``step_seconds`` a token."""
    speeds = [_speed(trace) for trace in traces if _is_usable(trace) and not any(event.k for event in trace.rounds)]
    return PlainSpeed(statistics.median(speeds), len(speeds)) if speeds else PlainSpeed(1.0 / step_seconds, 0)


def measured_speeds(traces: Iterable[Trace], plain: PlainSpeed) -> list[MeasuredSpeed]:
    """Return what each setting that drafted gained, by draft length.

    Only runs that had the engine to themselves count, of at least `MIN_TOKENS` tokens: whoever shares steps with others
    waits for them.
    """
    groups: dict[str, list[Trace]] = defaultdict(list)
    for trace in traces:
        if _is_usable(trace) and any(event.k for event in trace.rounds):
            groups[_name(trace)].append(trace)
    return sorted((_measured(name, runs, plain) for name, runs in groups.items()), key=lambda m: m.draft_length)


def acceptance_of_tested(traces: Iterable[Trace]) -> float | None:
    """Return accepted by tested draft tokens: the formula's acceptance; None where nothing was tested.

    What stands after a refused token was never tested, and says nothing.
    """
    rounds = [event for trace in traces for event in trace.rounds if event.k]
    accepted = sum(event.accepted for event in rounds)
    tested = accepted + sum(event.accepted < event.k for event in rounds)
    return accepted / tested if tested else None


def _measured(name: str, runs: list[Trace], plain: PlainSpeed) -> MeasuredSpeed:
    ratios = [_speed(trace) / plain.tokens_per_second for trace in runs]
    fixed = runs[0].params.get("draft_length")
    drafted = [event.k for trace in runs for event in trace.rounds if event.k]
    is_fixed = _drafter(runs[0]) == "model"
    length = float(fixed) if is_fixed and isinstance(fixed, int) else statistics.mean(drafted)
    acceptance = acceptance_of_tested(runs) or 0.0
    return MeasuredSpeed(name, length, statistics.median(ratios), min(ratios), max(ratios), len(runs), acceptance)


def _is_usable(trace: Trace) -> bool:
    is_alone = all(event.batch_sequences == 1 for event in trace.rounds)
    return is_alone and len(trace.tokens) >= MIN_TOKENS and _speed(trace) > 0


def _speed(trace: Trace) -> float:
    return trace.stats.get("tokens_per_second", 0.0)


def _drafter(trace: Trace) -> str:
    return Counter(event.drafter or "" for event in trace.rounds if event.k).most_common(1)[0][0]


def _name(trace: Trace) -> str:
    length = trace.params.get("draft_length", "auto")
    if not isinstance(length, int):
        return "auto"
    return f"k = {length}" if _drafter(trace) == "model" else f"lookup, k = {length}"
