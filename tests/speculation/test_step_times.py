"""What steps take beyond their decodes is told apart: plain ones, wide ones, and the draft's decodes."""

from __future__ import annotations

import pytest

from exsa_lab.speculation.step_times import StepTimes

MS = 1e-3


def learn(times: StepTimes, seconds: float, draft: float = 0.0, *, is_plain: bool = False, steps: int = 100) -> None:
    for _ in range(steps):
        times.observe(seconds, verify=1.4 * MS, draft=draft, is_plain=is_plain)


def test_each_part_is_found() -> None:
    times = StepTimes()
    learn(times, 1.5 * MS, is_plain=True)
    learn(times, 1.55 * MS)
    learn(times, 2.75 * MS, draft=0.8 * MS)
    assert times.plain == pytest.approx(0.1 * MS, rel=0.01)
    assert times.wide == pytest.approx(0.05 * MS, rel=0.01)
    assert times.draft_ratio == pytest.approx(1.5, rel=0.01)


def test_a_step_takes_no_less_than_its_decodes_and_a_spike_teaches_nothing() -> None:
    times = StepTimes()
    learn(times, 0.7 * MS, is_plain=True)
    learn(times, 0.7 * MS)
    learn(times, 1.0 * MS, draft=0.8 * MS)
    learn(times, 30 * MS, is_plain=True)
    assert (times.plain, times.wide, times.draft_ratio) == (0.0, 0.0, 1.0)
