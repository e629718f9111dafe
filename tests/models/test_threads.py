"""Threads are measured only where the machine leaves open how many are best."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from exsa_lab import loading
from exsa_lab.errors import ModelLoadError
from exsa_lab.hardware import GPU, Hardware
from exsa_lab.models import threads
from exsa_lab.models.resolve import resolve
from exsa_lab.models.threads import Measured, Times, best_threads, fastest, is_open, measure_threads, take_turns

GB = 1 << 30
PLAIN = Hardware("cpu", 8, 8, 8, None, 32 * GB, 16 * GB)
DRAFT = "smollm2-135m-draft"


@pytest.mark.parametrize(
    ("change", "counts"),
    [
        ({}, (8,)),
        ({"affinity_cores": 4}, (4,)),
        ({"cpu_quota": 8.0}, (8,)),
        ({"cpu_quota": 100.0}, (8,)),
        ({"logical_cores": 16, "affinity_cores": 16}, (8, 16)),
        ({"logical_cores": 16, "affinity_cores": 2}, (1, 2)),
        ({"cpu_quota": 4.0}, (4, 2)),
        ({"cpu_quota": 2.4}, (2, 3, 1)),
        ({"cpu_quota": 0.5}, (1,)),
        ({"logical_cores": 16, "affinity_cores": 16, "cpu_quota": 12.0}, (8, 12, 4)),
        ({"physical_cores": 14, "logical_cores": 20, "affinity_cores": 20}, (14, 20)),
    ],
)
def test_counts_in_doubt(change: dict[str, Any], counts: tuple[int, ...]) -> None:
    assert replace(PLAIN, **change).thread_counts == counts


def test_it_is_open_only_where_it_is_cheap() -> None:
    doubtful = replace(PLAIN, cpu_quota=4.0)
    gpu = GPU("gpu", 8 * GB, 8 * GB)
    assert is_open(doubtful, 100 << 20)
    assert not is_open(PLAIN, 100 << 20)
    assert not is_open(doubtful, 2 * GB)
    assert not is_open(replace(doubtful, available_memory=GB // 8), 100 << 20)
    assert not is_open(replace(doubtful, gpus=(gpu,), can_offload=True), 100 << 20)
    assert is_open(replace(doubtful, gpus=(gpu,)), 100 << 20)


@pytest.mark.parametrize(
    ("times", "best"),
    [
        ({8: {1: 1.0, 16: 4.0}, 16: {1: 0.99, 16: 3.9}}, 8),
        ({8: {1: 1.0, 16: 4.0}, 16: {1: 1.1, 16: 2.0}}, 16),
        ({8: {1: 1.0, 16: 4.0}, 16: {1: 1.5, 16: 3.0}}, 8),
        ({4: {1: 2.0, 16: 4.0}, 2: {1: 1.0, 16: 2.0}, 5: {1: 1.0, 16: 2.1}}, 2),
    ],
)
def test_the_likeliest_is_kept_unless_another_is_clearly_faster(times: Times, best: int) -> None:
    assert fastest(times) == best


def asked_of(scatter: float) -> tuple[list[Sequence[int]], Callable[[Sequence[int]], Measured]]:
    """A measurement whose repeats lie so far apart, and what it was asked for."""
    asked: list[Sequence[int]] = []

    def measure(counts: Sequence[int]) -> Measured:
        asked.append(counts)
        return {count: {1: 1.0 / count, 16: 4.0 / count} for count in counts}, scatter

    return asked, measure


def test_measured_once(tmp_path: Path) -> None:
    asked, measure = asked_of(0.05)
    for _ in range(2):
        assert best_threads((4, 2, 8), {"target": "a"}, measure, folder=tmp_path) == 8
    assert asked == [(4, 2, 8)]
    assert best_threads((4, 2), {"target": "a"}, measure, folder=tmp_path) == 4
    assert len(asked) == 1
    best_threads((4, 2), {"target": "another"}, measure, folder=tmp_path)
    assert len(asked) == 2
    best_threads((4, 2), {"target": "a"}, measure, anew=True, folder=tmp_path)
    assert len(asked) == 3


def test_what_a_busy_machine_shows_is_used_and_not_kept(tmp_path: Path) -> None:
    asked, measure = asked_of(0.5)
    for _ in range(2):
        assert best_threads((4, 2, 8), {"target": "a"}, measure, folder=tmp_path) == 8
    assert len(asked) == 2
    assert not list(tmp_path.iterdir())


class FakeContext:
    """Decodes on a clock of its own: ``seconds`` per token, the first decode ten times slower."""

    def __init__(self, clock: list[float], seconds: float) -> None:
        self.clock, self.seconds, self.decodes, self.tokens = clock, seconds, 0, 0

    def new_batch(self) -> FakeContext:
        return self

    def add(self, tokens: list[int], _position: int, _slot: int, _outputs: int) -> None:
        self.tokens = len(tokens)

    def decode(self, _batch: Any) -> None:
        self.decodes += 1
        self.clock[0] += self.seconds * self.tokens * (10 if self.decodes == 1 else 1)

    def remove(self, _slot: int, _start: int) -> None:
        self.tokens = 0


def test_turns_are_taken_until_the_deadline() -> None:
    clock = [0.0]
    quick: Any = {2: FakeContext(clock, 0.001), 4: FakeContext(clock, 0.002)}
    times, scatter = take_turns(quick, lambda: clock[0])
    assert scatter == pytest.approx(0.0)
    assert times[2][1] == pytest.approx(0.001)  # Not the slow first one.
    assert times[4][16] == pytest.approx(0.032)
    assert quick[2].decodes == 2 * (1 + threads.ROUNDS)
    slow: Any = {2: FakeContext(clock, 1.0), 4: FakeContext(clock, 1.0)}
    assert take_turns(slow, lambda: clock[0])[0][4][16] == pytest.approx(16.0)
    assert slow[2].decodes == 4  # The warm-up, and one round in any case.


def test_the_plan_takes_what_was_measured(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    asked = []

    def measured(_path: Path, counts: Sequence[int]) -> Measured:
        asked.append(counts)
        return {count: {1: 1.0, 16: 16.0 / count} for count in counts}, 0.0

    monkeypatch.setattr(threads, "measure_threads", measured)
    monkeypatch.setattr(loading, "machine", lambda: replace(PLAIN, physical_cores=1, logical_cores=2, affinity_cores=2))
    try:
        for _ in range(2):
            engine = loading.load(DRAFT, draft=None, n_ctx=256)
            assert engine.config.n_threads == 2
            made = loading.get_plan()
            assert made is not None
            assert made.reason("n_threads") == "measured here: 1 thread was not faster"
            loading.unload()
        assert asked == [(1, 2)]
        loading.load(DRAFT, draft=None, n_ctx=256, n_threads=1)
        assert asked == [(1, 2)]
        loading.unload()
        loading.load(DRAFT, draft=None, n_ctx=256, recalibrate=True)
        assert asked == [(1, 2)] * 2
    finally:
        loading.unload()


def test_a_file_that_does_not_load_leaves_the_count_as_it_was(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def broken(_path: Path, _counts: Sequence[int]) -> Measured:
        raise ModelLoadError("no")

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(threads, "measure_threads", broken)
    doubtful = replace(PLAIN, cpu_quota=4.0)
    assert loading._with_measured_threads(doubtful, resolve(DRAFT).path, anew=False) == doubtful


@pytest.mark.real
def test_a_real_model_is_timed() -> None:
    times, _ = measure_threads(resolve(DRAFT).path, (1, 2))
    assert set(times) == {1, 2}
    assert all(0 < points[1] < float("inf") and 0 < points[16] < float("inf") for points in times.values())
