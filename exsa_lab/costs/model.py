"""What a step costs on this machine: measured curves, corrected by the steps that really ran.

Seconds of one target decode of n tokens are not linear and not convex in n: kernels change with the batch size. The
measured points are therefore kept as measured, with the stairs of stairs.py or straight lines between them, and never
smoothed.

Steps correct the curve in two ways that one slow step cannot tell apart:

* the machine became slower or faster as a whole (another program, heat, a longer context). One common factor
  follows that quickly. It scales every cost alike, so it changes no decision.
* the curve is wrong at one point. Only a change of n between neighbouring steps shows that, because the common factor
  is the same for both. The larger of the two points is corrected; the single token, with which everything is compared,
  has no correction of its own.

Where a changed batch shape costs extra (a GPU that replays recorded graphs), the curves are of steady decodes, the
fourth and later of their shape in a row, and only such decodes are learned from.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from exsa_lab.costs.stairs import with_stairs
from exsa_lab.runtime.steady import STEPS_TO_RECORD

Kind = Literal["target", "draft"]

EXACT_POINTS = 32
"""Up to this many tokens each n has a correction of its own; above, neighbours within some 10 % share one."""

_COMMON_GAIN = 0.25
"""Of a surprise, what the common factor takes: it follows a change within some four steps."""
_POINT_GAIN = 0.15
"""Of a difference between neighbouring steps, what the larger point takes."""
_MOST_SURPRISE = math.log(1.5)
"""A decode that took more than this factor too long counts as this: it is another program's doing."""
_MAX_CORRECTION = math.log(16.0)
_LONGEST_TABLE = 512
_LEARN_EVERY = 4
"""Of decodes of the draft, and of steady ones, one in so many is learned from: they say the same, and it takes time."""


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
        self._seconds = dict(sorted(with_stairs(self.points).items()))
        self._corrections = dict.fromkeys(self._seconds, 0.0)
        """Logarithms of what the curve is multiplied with, by tokens and in their order."""
        self._table: list[float] = []

    def table(self, limit: int) -> list[float]:
        """Return seconds for 0..limit tokens or more (0 tokens cost nothing), corrections included."""
        if len(self._table) <= limit:
            self._table = self._build(-(-(limit + 1) // 64) * 64)
        return self._table

    def __call__(self, num_tokens: int) -> float:
        # Long ones, prefill of the draft, are not worth a table: they cost the same by the token.
        if num_tokens > _LONGEST_TABLE:
            return self.table(_LONGEST_TABLE)[_LONGEST_TABLE] * num_tokens / _LONGEST_TABLE
        return self.table(num_tokens)[num_tokens]

    def learn(self, num_tokens: int, surprise: float) -> None:
        """Move the curve at ``num_tokens`` towards a cost observed to be ``exp(surprise)`` times the expected one."""
        n, known = bin_of(num_tokens), self._corrections
        before = float(np.interp(n, list(known), list(known.values())))
        known[n] = min(_MAX_CORRECTION, max(-_MAX_CORRECTION, before + _POINT_GAIN * surprise))
        self._corrections, self._table = dict(sorted(known.items())), []

    def _build(self, size: int) -> list[float]:
        knots, seconds, tokens = list(self._seconds), list(self._seconds.values()), np.arange(size)
        if knots[-1] < size:
            knots, seconds = [*knots, size], [*seconds, _extrapolate(knots, seconds, size)]
        corrections = np.interp(tokens, list(self._corrections), list(self._corrections.values()))
        table: list[float] = (np.interp(tokens, knots, seconds) * np.exp(corrections)).tolist()
        table[0] = 0.0
        return table


@dataclass(eq=False)
class CostModel:
    """Seconds of target and draft decodes; see the module's text for how it learns. Owned by the engine thread.

    Example:
        >>> costs = CostModel.from_measurements({1: 0.007, 4: 0.019, 16: 0.040}, {1: 0.001})
        >>> round(costs.step_seconds(4) / costs.step_seconds(1), 1)
        2.7
    """

    target: CostCurve
    draft: CostCurve | None
    seconds_per_sequence: float
    """What each further sequence in a target decode adds."""
    switch_seconds: dict[Kind, float]
    """What a change of the batch's shape (tokens, sequences, outputs) adds in all. Measured on an H100 with the default
    pair: 3.8 ms for the target, 1.2 ms for the draft. On a CPU what coming back to a smaller batch adds, 0.6 ms for the
    target; there the curve has the way to a larger one."""
    scatter: float = field(default=0.0, init=False)
    """How far repeats of the measurements differed, as a share; see `exsa_lab.scatter.typical_delay`."""
    _common: float = field(default=0.0, init=False)
    _last_tokens: int = field(default=0, init=False)
    _runs: dict[Kind, tuple[tuple[int, int], int]] = field(default_factory=dict, init=False)
    _num_draft: int = field(default=0, init=False)

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
            max(0.0, seconds_per_sequence),
            {"target": 0.0, "draft": 0.0, **(switch_seconds or {})},
        )

    @property
    def has_costly_shapes(self) -> bool:
        """Whether keeping the shape of the batches matters."""
        return self.switch_seconds["target"] > _NEGLIGIBLE * self.target(1)

    @property
    def slow_down(self) -> float:
        """How much slower than at calibration the machine is now as a whole; 1 is the same."""
        return math.exp(self._common)

    @property
    def return_seconds(self) -> float:
        """What a step with a draft adds to the plain one after it, at the speed of calibration."""
        return 0.0 if self.has_costly_shapes else self.switch_seconds["target"]

    @property
    def draft_start_seconds(self) -> float:
        """What the first decode of a draft takes beyond another one, at the speed of calibration.

        On a CPU the target's pass has driven the draft's weights out of the caches.
        """
        return 0.0 if self.has_costly_shapes else self.switch_seconds["draft"]

    def step_seconds(self, num_tokens: int, num_sequences: int = 1) -> float:
        """Seconds of one target decode of ``num_tokens`` that belong to ``num_sequences``."""
        return (self.target(num_tokens) + self.sequences_seconds(num_sequences)) * self.slow_down

    def draft_seconds(self, num_tokens: int) -> float:
        """Seconds of one draft decode; infinite where there is no draft model."""
        return self.draft(num_tokens) * self.slow_down if self.draft else math.inf

    def cheapest_step(self, least: int, most: int, num_sequences: int) -> int:
        """Return the number of tokens, ``least`` to ``most``, that cost least each in a step of so many sequences.

        Where shapes are costly, more than ``least`` are a change of shape, and the next step is one back.
        """
        fixed = self.sequences_seconds(num_sequences)
        change = 2 * self.switch_seconds["target"] if self.has_costly_shapes else 0.0

        def each(tokens: int) -> float:
            return (self.target(tokens) + fixed + change * (tokens > least)) / tokens

        return min(range(most, least - 1, -1), key=each)

    def sequences_seconds(self, num_sequences: int) -> float:
        """The part of a target decode, at the speed of calibration, that comes from having several sequences."""
        return self.seconds_per_sequence * max(0, num_sequences - 1)

    def observe(self, kind: Kind, num_tokens: int, num_sequences: int, seconds: float) -> None:
        """Learn from a decode that really ran."""
        if num_tokens < 1 or not 0 < seconds < math.inf or not self._is_usual(kind, num_tokens, num_sequences):
            return
        if kind == "draft":
            self._num_draft += 1
            if self.draft is not None and self._num_draft % _LEARN_EVERY == 0:
                self.draft.learn(num_tokens, _bounded(math.log(seconds / self.draft_seconds(num_tokens))))
            return
        expected = self.step_seconds(num_tokens, num_sequences)
        if num_tokens < self._last_tokens:
            expected += self.return_seconds * self.slow_down
        surprise = _bounded(math.log(seconds / expected))
        self._common += _COMMON_GAIN * surprise
        here, before = bin_of(num_tokens), bin_of(self._last_tokens or num_tokens)
        if here != before:
            self.target.learn(max(here, before), surprise if here > before else -surprise)
        self._last_tokens = num_tokens

    def _is_usual(self, kind: Kind, num_tokens: int, num_sequences: int) -> bool:
        """Whether the shape has lasted so long that a decode takes what the curve says."""
        if not self.has_costly_shapes:
            return True
        shape = (num_tokens, num_sequences)
        last, length = self._runs.get(kind, (shape, -1))
        length = length + 1 if last == shape else 0
        self._runs[kind] = shape, length
        return length >= STEPS_TO_RECORD and (length - STEPS_TO_RECORD) % _LEARN_EVERY == 0


_NEGLIGIBLE = 0.5
"""Single-token steps that a change of the batch's shape may cost without being planned for."""


def _bounded(surprise: float) -> float:
    return min(_MOST_SURPRISE, max(-_MOST_SURPRISE, surprise))


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
