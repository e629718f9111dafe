"""Which costs to measure at load, in which order, and when to stop."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from dataclasses import dataclass

from exsa_lab.costs.model import CostModel, Kind
from exsa_lab.runtime.steady import STEPS_TO_RECORD
from exsa_lab.scatter import typical_delay

DEADLINE_S = 2.5
_LEAST_SAMPLES, _MAX_SAMPLES = 2, 5
_MOST_OF_ALL = 1 / 12
"""Share of the time after which a point is not measured again, with the least samples: long decodes vary little."""
_SEQUENCES = 8
CATCH_UP = 256
"""Tokens of the longest draft decode measured: catching up with a prompt costs as much by the token."""
_STEADY = 3
"""Decodes of each shape, where a changed one costs extra, after those that pay for the change."""
_MOST_OF_A_CHANGE: dict[Kind, float] = {"target": 0.25, "draft": 1.5}
"""Single-token steps that a change can cost on a CPU: more was another program's doing."""

Measure = Callable[[Kind, int, int], float]
"""``measure(kind, num_tokens, num_sequences)`` runs one decode and returns its seconds, like a step would pay them."""


@dataclass(frozen=True, slots=True)
class Measurement:
    """One point of a cost curve."""

    kind: Kind
    num_tokens: int
    num_sequences: int = 1


def calibration_plan(max_tokens: int, *, has_draft: bool) -> list[Measurement]:
    """Return the points to measure, the most useful first; none above ``max_tokens`` per decode.

    Powers of two give the curve's shape; all from 4 to 8 that of its stairs (stairs.py); the others find jumps where
    kernels change.
    """
    plan = [Measurement("target", 1), Measurement("draft", 1)]
    plan += [Measurement("target", n) for n in (4, 8, 2, 16, 3, 5, 12, 6, 7)]
    plan += [Measurement("draft", n) for n in (4, 16)]
    plan += [Measurement("target", _SEQUENCES, _SEQUENCES), Measurement("target", 20), Measurement("target", 32)]
    plan += [Measurement("draft", n) for n in (64, CATCH_UP)]
    plan += [Measurement("target", n) for n in (24, 64)]
    usable = [point for point in plan if has_draft or point.kind == "target"]
    return [point for point in usable if point.num_tokens <= max(1, max_tokens)]


def calibrate(
    measure: Measure,
    clock: Callable[[], float],
    *,
    has_draft: bool,
    max_tokens: int = CATCH_UP,
    deadline_s: float = DEADLINE_S,
    in_a_row: bool = False,
) -> CostModel:
    """Measure the curves within ``deadline_s`` seconds of ``clock``; the fastest of up to 5 samples each.

    What slows a decode down is first use or another program. The whole plan is gone through again and again, so that
    every point has samples from different moments. A point that would take longer than what is left is skipped;
    single-token steps are measured in any case. The first decode of each kind only warms up.

    Plain decoding keeps its shape, a verification changes it. So the second of two single-token decodes counts, and
    what the first takes beyond it is the price of coming back from a verification, whose own time has the way there.

    ``in_a_row`` is for devices that may replay a captured graph while the batch keeps its shape: a sample is then the
    steady end of several decodes in a row, and what their beginning takes beyond that is the price of the change.
    """
    end = clock() + deadline_s
    plan = calibration_plan(max_tokens, has_draft=has_draft)
    samples: dict[Measurement, list[float]] = {}
    switches: dict[Kind, list[float]] = {"target": [], "draft": []}
    for kind in ("target", "draft") if has_draft else ("target",):
        measure(kind, 1, 1)
    for _ in range(_MAX_SAMPLES):
        for point in plan:
            must = point.num_tokens == 1 and point not in samples
            changing, steady = (STEPS_TO_RECORD, _STEADY) if in_a_row else (int(point.num_tokens == 1), 1)
            seen = samples.get(point, [])
            if len(seen) >= _LEAST_SAMPLES and len(seen) * min(seen) > _MOST_OF_ALL * deadline_s:
                continue
            if must or clock() + (changing + steady) * _expected_seconds(point, samples) <= end:
                times = [measure(point.kind, point.num_tokens, point.num_sequences) for _ in range(changing + steady)]
                seconds = statistics.median_low(times[changing:])
                samples.setdefault(point, []).append(seconds)
                if changing:
                    switches[point.kind].append(sum(times[:changing]) - changing * seconds)
    fastest = {point: min(values) for point, values in samples.items()}
    prices = {kind: max(0.0, statistics.median(extra)) for kind, extra in switches.items() if extra}
    if not in_a_row:
        most = {kind: _MOST_OF_A_CHANGE[kind] * fastest[Measurement(kind, 1)] for kind in prices}
        prices = {kind: min(price, most[kind]) for kind, price in prices.items()}
    costs = _model(fastest, prices)
    costs.scatter = typical_delay(samples.values())
    return costs


def _expected_seconds(point: Measurement, samples: dict[Measurement, list[float]]) -> float:
    if point in samples:
        return samples[point][-1]
    known = [other for other in samples if other.kind == point.kind and other.num_tokens <= point.num_tokens]
    nearest = max(known, key=lambda other: other.num_tokens)
    return samples[nearest][-1] * point.num_tokens / nearest.num_tokens


def _model(fastest: dict[Measurement, float], switch_seconds: dict[Kind, float]) -> CostModel:
    curves: dict[Kind, dict[int, float]] = {"target": {}, "draft": {}}
    for point, seconds in fastest.items():
        if point.num_sequences == 1:
            curves[point.kind][point.num_tokens] = seconds
    several = fastest.get(Measurement("target", _SEQUENCES, _SEQUENCES))
    per_sequence = 0.0
    if several and _SEQUENCES in curves["target"]:
        per_sequence = (several - curves["target"][_SEQUENCES]) / (_SEQUENCES - 1)
    return CostModel.from_measurements(
        curves["target"], curves["draft"], seconds_per_sequence=per_sequence, switch_seconds=switch_seconds
    )
