"""What a race says: each lane's numbers, how much faster one is than another, and how sure that is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, median_low
from typing import Any

from exsa_lab.config import SamplingParams
from exsa_lab.errors import ConfigError, shown
from exsa_lab.plots.intervals import ratio_interval
from exsa_lab.scatter import if_busy, of_one_run, spread
from exsa_lab.trace.time_parts import TimeParts, time_parts
from exsa_lab.trace.trace import Trace

_OWN_PARAMS = ("seed",)


@dataclass(frozen=True)
class SpeedRatio:
    """How many times as fast one setting decodes as another, from runs that took turns."""

    ratio: float
    low: float
    high: float
    """95 % interval over turns; NaN where there was one, which tells nothing about that."""
    runs: int

    @property
    def is_clear(self) -> bool:
        """Whether the interval leaves out 1."""
        return self.low > 1 or self.high < 1

    @property
    def sureness(self) -> str:
        """The interval in words."""
        if self.runs == 1:
            return "one run each: repeats=5 would say how sure that is"
        return f"95 % interval {self.low:.2f} to {self.high:.2f}, {self.runs} runs each"

    def __str__(self) -> str:
        return f"{self.ratio:.2f} ({'one run each' if self.runs == 1 else self.sureness})"


@dataclass(frozen=True)
class RaceLane:
    """One setting: its runs, of which the one of median speed is shown."""

    name: str
    runs: tuple[Trace, ...]

    @property
    def speeds(self) -> list[float]:
        """Tokens per second of each run, after the first token, as in `Stats.tokens_per_second`."""
        return [_speed(trace) for trace in self.runs]

    @property
    def shown(self) -> Trace:
        """The run of median speed, the slower of two."""
        return self.runs[self.speeds.index(median_low(self.speeds))]

    @property
    def tokens_per_second(self) -> float:
        """The mean over its runs."""
        return fmean(self.speeds)

    @property
    def parts(self) -> TimeParts:
        """Where the time of the run that is shown went."""
        return time_parts(self.shown.rounds)

    @property
    def finish_s(self) -> float:
        """When the last token of the run that is shown was there, in seconds since submission."""
        return self.parts.total_s

    @property
    def scatter(self) -> float:
        """How far the fastest run is ahead of the slowest, as a share; 0 of one run."""
        return spread(self.speeds)

    @property
    def sureness(self) -> str:
        """How sure its speed is."""
        if len(self.runs) == 1:
            return of_one_run(self.shown.rounds)
        return f"{min(self.speeds):.1f} to {max(self.speeds):.1f} in {len(self.runs)} runs"

    def settings(self, others: Sequence[RaceLane]) -> str:
        """What this lane was asked for and another one was not, as Python keywords."""
        given = self.shown.params
        differing = [name for name in given if any(_param(lane, name) != given[name] for lane in others)]
        mute = (*_OWN_PARAMS, "drafter") if given.get("draft_length") == 0 else _OWN_PARAMS
        return ", ".join(f"{name}={given[name]!r}" for name in differing if name not in mute)


def lanes_of_traces(traces: Mapping[str, Trace | Sequence[Trace]]) -> list[RaceLane]:
    """Return the lanes of recorded runs, one or as many of each; raises ConfigError where they cannot be compared."""
    runs = {name: (given,) if isinstance(given, Trace) else tuple(given) for name, given in traces.items()}
    if len(runs) < 2:
        raise ConfigError("a race needs two settings.", hint="Give their traces by name: dict(plain=..., auto=...).")
    if len({len(given) for given in runs.values()}) > 1:
        raise ConfigError("the settings have different numbers of runs.", hint="Give as many of each, in their order.")
    for name, given in runs.items():
        for trace in given:
            if not isinstance(trace, Trace):
                raise ConfigError(f"{name} has {shown(trace)}, which is no trace.", hint="Give gen.trace.")
            if not trace.rounds or trace.rounds[-1].time_s <= 0:
                raise ConfigError(f"a trace of {name} has no times.", hint="Record it with a finished generation.")
    if not next(iter(runs.values())):
        raise ConfigError("there is no run.", hint="Give at least one trace of each setting.")
    return [RaceLane(name, given) for name, given in runs.items()]


def ratio(lane: RaceLane, baseline: RaceLane) -> SpeedRatio:
    """Compare two lanes, turn by turn; NaN where a run has no speed, being of one token."""
    found, low, high = ratio_interval(baseline.speeds, lane.speeds, paired=True)
    return SpeedRatio(found, low, high, len(lane.runs))


def verdict(lanes: Sequence[RaceLane]) -> list[str]:
    """Say in sentences which is how much faster than the first, how sure that is, and what to mind."""
    first = lanes[0]
    sentences = []
    for lane in lanes[1:]:
        found = ratio(lane, first)
        doubt = "No clear difference: " if found.runs > 1 and not found.is_clear else ""
        speeds = f"{lane.tokens_per_second:.1f} against {first.tokens_per_second:.1f} tok/s"
        times = f"{found.ratio:.2f} times as fast as {first.name}"
        sentences.append(f"{doubt}{lane.name} decodes {times}, {speeds} ({found.sureness}).")
    return [*sentences, *_remarks(lanes)]


def _remarks(lanes: Sequence[RaceLane]) -> list[str]:
    warnings = (if_busy(lane.scatter, f"the runs of {lane.name}") for lane in lanes)
    remarks = [warning for warning in warnings if warning]
    texts = {lane.shown.text for lane in lanes}
    remarks.append("All wrote the same text." if len(texts) == 1 else "The texts differ, so their lengths may too.")
    if any(event.batch_sequences > 1 for lane in lanes for event in lane.shown.rounds):
        remarks.append("Other requests shared some of the steps, which then took longer.")
    return remarks


def _speed(trace: Trace) -> float:
    first, last = trace.rounds[0].time_s, trace.rounds[-1].time_s
    return (len(trace.tokens) - 1) / (last - first) if last > first else 0.0


def _param(lane: RaceLane, name: str) -> Any:
    return lane.shown.params.get(name, getattr(SamplingParams(), name, None))
