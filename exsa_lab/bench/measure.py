"""Measuring fairly on a machine that has other things to do: interleaved rounds, medians, paired ratios."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from exsa_lab.scatter import spread

Run = Callable[[int], float]
"""Runs one contender once and returns what was measured. The argument is the round, 0 for the warm-up."""

Progress = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Ratio:
    """A contender against its baseline: median, lowest and highest of the ratios within each round."""

    median: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"x{self.median:.2f} ({self.low:.2f}..{self.high:.2f})"


@dataclass(frozen=True, slots=True)
class Middle:
    """What one contender did: median, lowest and highest of its rounds."""

    median: float
    low: float
    high: float
    is_alike: bool = True
    """Whether its rounds did the same work, so that only the machine can tell them apart."""

    @property
    def spread(self) -> float:
        """How far the rounds lie apart as a share, where only the machine can have done that; else 0."""
        return spread([self.low, self.high]) if self.is_alike else 0.0

    def __str__(self) -> str:
        return f"{rounded(self.median)} ({rounded(self.low)}..{rounded(self.high)})"


def middle(values: Sequence[float], scale: float = 1.0, *, is_alike: bool = True) -> Middle:
    """Return the median times ``scale`` and how sure it is.

    Example:
        >>> str(middle([0.1, 0.12, 0.11], scale=1000))
        '110 (100..120)'
    """
    scaled = [scale * value for value in values]
    return Middle(median(scaled), min(scaled, default=0.0), max(scaled, default=0.0), is_alike)


def rounded(number: float) -> str:
    """Return three digits or so: all that a measurement is worth."""
    return f"{number:,.0f}" if abs(number) >= 100 else f"{number:.1f}" if abs(number) >= 10 else f"{number:.2f}"


def interleaved(
    runs: Mapping[str, Run], rounds: int, *, warm_up: bool = True, progress: Progress | None = None
) -> dict[str, list[float]]:
    """Measure every contender once per round and return its values by name.

    The order turns by one place per round, so that nobody always runs after the same neighbour: a slow minute of
    the machine then hits all of them, and `ratio` compares only values of one round.
    """
    values: dict[str, list[float]] = {name: [] for name in runs}
    for number in range(0 if warm_up else 1, rounds + 1):
        for name in _turned(list(runs), number):
            if progress is not None:
                progress(f"{round_name(number, rounds)}: {name}")
            value = runs[name](number)
            if number:
                values[name].append(value)
    return values


def round_name(number: int, rounds: int) -> str:
    """Return how a round is called while it runs."""
    return f"round {number} of {rounds}" if number > 0 else "warm-up"


def _turned(names: list[str], places: int) -> list[str]:
    places %= len(names) or 1
    return names[places:] + names[:places]


def ratio(values: Sequence[float], baseline: Sequence[float]) -> Ratio:
    """Compare two contenders, round by round; rounds in which the baseline has no speed do not count."""
    ratios = [value / base for value, base in zip(values, baseline, strict=True) if base] or [0.0]
    return Ratio(statistics.median(ratios), min(ratios), max(ratios))


def overall(speeds: Sequence[float]) -> float:
    """Return the speed of several texts together: there is no middle one among them.

    Every text counts the same: the harmonic mean. 0 of nothing.
    """
    return statistics.harmonic_mean(speeds) if speeds else 0.0


def median(values: Iterable[float]) -> float:
    """Return the median; 0 of nothing."""
    kept = list(values)
    return statistics.median(kept) if kept else 0.0


def percentile(values: Iterable[float], percent: float) -> float:
    """Return the value below which ``percent`` of the values lie, interpolated; 0 of nothing."""
    kept = sorted(values)
    if not kept:
        return 0.0
    place = (len(kept) - 1) * percent / 100
    low = int(place)
    high = min(low + 1, len(kept) - 1)
    return kept[low] + (kept[high] - kept[low]) * (place - low)


def speed(times: Sequence[float]) -> float:
    """Return tokens per second from the times at which tokens came; the first one, which is prefill, not counted."""
    return (len(times) - 1) / (times[-1] - times[0]) if len(times) > 1 else 0.0
