"""What a step costs on this machine: measured curves, kept honest by the steps that really ran.

Seconds of one target decode of n tokens are not linear and not convex in n: kernels change with the batch size. The
measured points are therefore kept as measured, with the stairs of tiles.py or straight lines between them, and never
smoothed.

Online correction separates two things that one slow step cannot tell apart:

* the machine became slower or faster as a whole (another program, heat, a longer context). One common factor
  follows that quickly. It scales every cost alike, so it changes no decision.
* the curve is wrong. Only a change of n between neighbouring steps shows that, because the common factor is the same
  for both. Part of such a difference goes to the larger of the two points, and part to what every token adds, all
  over the curve: a longer context costs each of them more attention. The single token is what everything else is
  compared with, so it has no correction of its own.

Where a changed batch shape costs extra (a GPU that replays captured graphs), the curves are of steady decodes, the
fourth and later of their shape in a row, and only such decodes are learned from.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np

from exsa_lab.costs.stairs import with_stairs
from exsa_lab.runtime.steady import STEPS_TO_RECORD

Kind = Literal["target", "draft"]

EXACT_POINTS = 32
"""Up to this many tokens each n has a correction of its own; above, neighbours within some 10 % share one."""

_COMMON_GAIN = 0.25
_POINT_GAIN = 0.15
_SLOPE_GAIN = 0.12
_MOST_SLOPE = 0.12
"""Single-token steps per token: what attention to some 4,000 cells takes with the default pair on two cores."""
_SLOPE_DOUBT = 0.4
"""Single-token steps per token: two numbers of tokens whose mean prices differ by less say little of the slope."""
_LEAST = 0.25
"""Of what a point's own correction says, what the slope may leave."""
_MAX_CORRECTION = math.log(16.0)
_FORGET_EVERY = 64
_FORGET = 0.97
_MIN_NOISE = 0.03
_CLIP = 3.0
_SURPRISE = math.log(1.12)
_NEGLIGIBLE = 0.5
"""Single-token steps that a change of the batch's shape may cost without being planned for."""
_OBSERVE_SETTLED = 4
"""Of steady decodes, one in so many is learned from."""


@dataclass(slots=True)
class _Run:
    """Decodes of one shape in a row."""

    shape: tuple[int, int] = (0, 0)
    length: int = 0

    def add(self, shape: tuple[int, int]) -> int:
        """Returns how many decodes of this shape there were just before."""
        self.length = self.length + 1 if shape == self.shape else 0
        self.shape = shape
        return self.length


class CostCurve:
    """Seconds by number of tokens: measured points, stairs or straight lines between, a correction for each point.

    ``points`` are seconds by tokens; they must be positive. Beyond the last point the curve goes on with the slope
    of its end, but never steeper than its average.
    """

    def __init__(self, points: Mapping[int, float]) -> None:
        if not points or any(n < 1 or not 0 < seconds < math.inf for n, seconds in points.items()):
            raise ValueError(f"A cost curve needs positive seconds for positive token counts, not {dict(points)!r}.")
        self.points = dict(sorted(points.items()))
        """As measured, without corrections."""
        knots = sorted(with_stairs(self.points).items())
        self._knots = [n for n, _ in knots]
        self._seconds = [seconds for _, seconds in knots]
        self._corrections = [0.0] * len(self._knots)
        self._visits = [0] * len(self._knots)
        self._surprises = [0.0] * len(self._knots)
        self._slope = 0.0
        """Correction in seconds that every token adds."""
        self._least_slope = -min(seconds / n for n, seconds in knots) / 2
        self._table: list[float] = []

    def table(self, limit: int) -> list[float]:
        """Return seconds for 0..limit tokens or more (0 tokens cost nothing), corrections included."""
        if len(self._table) <= limit:
            self._table = self._build(-(-(limit + 1) // 64) * 64)
        return self._table

    def __call__(self, num_tokens: int) -> float:
        return self.table(num_tokens)[num_tokens]

    def learn(self, num_tokens: int, surprise: float, bound: float, *, against: int | None = None) -> None:
        """Move the curve at ``num_tokens`` towards a cost observed to be ``exp(surprise)`` times the expected one.

        ``against`` is the smaller number of tokens that this is in comparison with. A surprise beyond ``bound`` is
        believed only as far as the one before it agrees, so that a spike is not. The more often the point was seen,
        the less it moves.
        """
        index = self._knot(num_tokens)
        before, self._surprises[index] = self._surprises[index], surprise
        agreed = max(bound, min(abs(before), abs(surprise)) if before * surprise > 0 else 0.0)
        believed = min(agreed, max(-agreed, surprise))
        self._visits[index] += 1
        gain = max(_POINT_GAIN, 0.5 / self._visits[index])
        self._corrections[index] = _bounded(self._corrections[index] + gain * believed)
        if against is not None:
            self._learn_slope(num_tokens, against, believed)
        self._table = []

    def forget(self, factor: float) -> None:
        """Draw all corrections towards what was measured at first, so that a point given up is tried again."""
        self._corrections = [c * factor for c in self._corrections]
        self._slope *= factor
        self._table = []

    def _learn_slope(self, larger: int, smaller: int, surprise: float) -> None:
        """Of a ridge regression one step: how ``surprise`` follows from what a token adds to both, if it does."""
        effect = larger / self(larger) - smaller / self(smaller)
        doubt = _SLOPE_DOUBT / self._seconds[0]
        slope = self._slope + _SLOPE_GAIN * surprise * effect / (effect**2 + doubt**2)
        self._slope = min(_MOST_SLOPE * self._seconds[0], max(self._least_slope, slope))

    def _knot(self, num_tokens: int) -> int:
        """Index of the point that stands for ``num_tokens``; a new one where none is near."""
        n = bin_of(num_tokens)
        index = bisect_left(self._knots, n)
        if index == len(self._knots) or self._knots[index] != n:
            before = self._corrections[max(0, index - 1)]
            # The interpolated value becomes a point, so the curve does not change.
            seconds = max(self(n) - self._slope * n, _LEAST * self(n)) / math.exp(before)
            self._knots.insert(index, n)
            self._seconds.insert(index, seconds)
            self._corrections.insert(index, before)
            self._visits.insert(index, 0)
            self._surprises.insert(index, 0.0)
        return index

    def _build(self, size: int) -> list[float]:
        knots = self._knots
        own = [s * math.exp(c) for s, c in zip(self._seconds, self._corrections, strict=True)]
        seconds = [max(_LEAST * s, s + self._slope * n) for n, s in zip(knots, own, strict=True)]
        if knots[0] > 1:
            knots, seconds = [1, *knots], [seconds[0], *seconds]
        if knots[-1] < size:
            knots, seconds = [*knots, size], [*seconds, _extrapolate(knots, seconds, size)]
        table: list[float] = np.interp(np.arange(size), knots, seconds).tolist()
        table[0] = 0.0
        return table


class CostModel:
    """Seconds of target and draft decodes; see the module's text for how it learns. Owned by the engine thread.

    Example:
        >>> costs = CostModel.from_measurements({1: 0.007, 4: 0.019, 16: 0.040}, {1: 0.001})
        >>> round(costs.step_seconds(4) / costs.step_seconds(1), 1)
        2.7
    """

    def __init__(
        self,
        target: CostCurve,
        draft: CostCurve | None = None,
        *,
        seconds_per_sequence: float = 0.0,
        switch_seconds: Mapping[Kind, float] | None = None,
    ) -> None:
        self.target = target
        self.draft = draft
        self.seconds_per_sequence = seconds_per_sequence
        """What each further sequence in a target decode adds."""
        self.switch_seconds: dict[Kind, float] = {"target": 0.0, "draft": 0.0, **(switch_seconds or {})}
        """What a change of the batch's shape (tokens, sequences, outputs) adds in all. Measured on an H100 with the
        default pair: 3.8 ms for the target, 1.2 ms for the draft. On a CPU what coming back to a smaller batch adds,
        0.6 ms for the target; there the curve has the way to a larger one."""
        self.has_costly_shapes = self.switch_seconds["target"] > _NEGLIGIBLE * target(1)
        """Whether keeping the shape of the batches matters."""
        self._runs: dict[Kind, _Run] = {"target": _Run(), "draft": _Run()}
        self._common = 0.0
        self._noise = 0.1
        self._last = 0
        self._last_tokens = 0
        self._surprise = 0.0
        self._observed = 0

    @classmethod
    def from_measurements(
        cls,
        target: Mapping[int, float],
        draft: Mapping[int, float] | None = None,
        *,
        seconds_per_sequence: float = 0.0,
        switch_seconds: Mapping[Kind, float] | None = None,
    ) -> CostModel:
        """Build from seconds by number of tokens, as measured with one sequence."""
        return cls(
            CostCurve(target),
            CostCurve(draft) if draft else None,
            seconds_per_sequence=max(0.0, seconds_per_sequence),
            switch_seconds=switch_seconds,
        )

    @property
    def slow_down(self) -> float:
        """How much slower than at calibration the machine is now as a whole; 1 is the same."""
        return math.exp(self._common)

    @property
    def is_surprised(self) -> bool:
        """Whether the last target decode took much longer or shorter than expected, beyond the usual noise."""
        return abs(self._surprise) > max(_SURPRISE, 2.5 * self._noise)

    def step_seconds(self, num_tokens: int, num_sequences: int = 1) -> float:
        """Seconds of one target decode of ``num_tokens`` that belong to ``num_sequences``."""
        return (self.target(num_tokens) + self.sequences_seconds(num_sequences)) * self.slow_down

    def draft_seconds(self, num_tokens: int) -> float:
        """Seconds of one draft decode; infinite where there is no draft model."""
        return self.draft(num_tokens) * self.slow_down if self.draft else math.inf

    @property
    def return_seconds(self) -> float:
        """What a step with a draft adds to the plain one after it, at the speed of calibration."""
        return 0.0 if self.has_costly_shapes else self.switch_seconds["target"]

    def sequences_seconds(self, num_sequences: int) -> float:
        """The part of a target decode, at the speed of calibration, that comes from having several sequences."""
        return self.seconds_per_sequence * max(0, num_sequences - 1)

    def plain_steps(self, most: int) -> list[float]:
        """Seconds of a plain step of 0 to ``most`` sequences, at the speed of calibration."""
        table = self.target.table(most)
        return [table[num] + self.sequences_seconds(num) for num in range(most + 1)]

    def observe(self, kind: Kind, num_tokens: int, num_sequences: int, seconds: float) -> None:
        """Learn from a decode that really ran. A single spike moves next to nothing."""
        if num_tokens < 1 or not 0 < seconds < math.inf:
            return
        if self.has_costly_shapes:
            settled = self._runs[kind].add((num_tokens, num_sequences)) - STEPS_TO_RECORD
            if settled < 0 or settled % _OBSERVE_SETTLED:
                return
        if kind == "draft":
            self._observe_draft(num_tokens, seconds)
        else:
            self._observe_target(num_tokens, num_sequences, seconds)

    def _observe_draft(self, num_tokens: int, seconds: float) -> None:
        if self.draft is None:
            return
        surprise = math.log(seconds / self.draft_seconds(num_tokens))
        self.draft.learn(num_tokens, surprise, self._bound)

    def _observe_target(self, num_tokens: int, num_sequences: int, seconds: float) -> None:
        expected = self.step_seconds(num_tokens, num_sequences)
        if num_tokens < self._last_tokens:
            expected += self.return_seconds * self.slow_down
        self._last_tokens = num_tokens
        surprise = math.log(seconds / expected)
        self._surprise = surprise
        bound = self._bound
        self._noise += 0.05 * (min(abs(surprise), 1.0) - self._noise)
        self._common += _COMMON_GAIN * min(bound, max(-bound, surprise))
        here, before = bin_of(num_tokens), self._last
        if before and before != here:
            larger = max(here, before)
            sign = 1.0 if larger == here else -1.0
            self.target.learn(larger, sign * surprise, bound, against=min(here, before))
        self._last = here
        self._observed += 1
        if self._observed % _FORGET_EVERY == 0:
            self.target.forget(_FORGET)

    @property
    def _bound(self) -> float:
        """Surprises beyond this are not noise."""
        return _CLIP * max(self._noise, _MIN_NOISE)


def _bounded(correction: float) -> float:
    return min(_MAX_CORRECTION, max(-_MAX_CORRECTION, correction))


def bin_of(num_tokens: int) -> int:
    """The token count whose correction ``num_tokens`` shares."""
    if num_tokens <= EXACT_POINTS:
        return num_tokens
    width = 1 << (num_tokens.bit_length() - 4)
    return num_tokens // width * width


def _extrapolate(knots: list[int], seconds: list[float], num_tokens: int) -> float:
    average = seconds[-1] / knots[-1]
    slope = average
    if len(knots) > 1:
        slope = (seconds[-1] - seconds[-2]) / (knots[-1] - knots[-2])
        slope = min(slope, average) if slope > 0 else average
    return seconds[-1] + slope * (num_tokens - knots[-1])
