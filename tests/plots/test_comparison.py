"""Comparing runs: the bootstrap and concurrency."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from exsa_lab import plots
from exsa_lab.engine.engine import Engine


def test_requests_of_one_batch_are_one_measurement(engine: Engine) -> None:
    options = {"max_tokens": 20, "chat": False, "draft_length": 0, "progress": False}
    sides = [engine.map(["abc", "bcd", "cde", "def"], **options) for _ in range(2)]
    figure = plots.compare(*sides)
    assert "one batch and one batch: repeat to compare" in figure.layout.title.text
    assert all(np.isnan(row[4]) and np.isnan(row[5]) for row in figure._rows)
    assert "to" not in figure.data[0].text[0]
    assert set(figure.data[0].marker.symbol) == {"circle-open"}


def test_batches_that_were_run_several_times_are_paired(engine: Engine) -> None:
    options = {"max_tokens": 20, "chat": False, "draft_length": 0, "progress": False}
    a, b = [[gen for _ in range(3) for gen in engine.map(["abc", "bcd"], **options)] for _ in range(2)]
    figure = plots.compare(a, b)
    assert "3 batches and 3 batches, paired" in figure.layout.title.text
    assert all(row[4] < row[3] < row[5] for row in figure._rows if row[0] == "tokens per second")


def test_prompts_that_were_cached_on_one_side_are_said(engine: Engine) -> None:
    options = {"max_tokens": 4, "chat": False, "draft_length": 0}
    a, b = (engine.generate("abcdefghijkl" * 2, **options) for _ in range(2))
    text = plots.compare([a], [b]).layout.title.text
    assert "96% of the prompts were cached: first tokens do not compare" in text


def test_concurrency_uses_all_requests(gens: list[Any]) -> None:
    load = plots.concurrency_records({2: gens[:2]})[0]
    wall = max(gen.trace.rounds[-1].time_s for gen in gens[:2])
    assert load.tokens_per_second == pytest.approx(120 / wall)
    assert load.ttft_p50 <= load.ttft_p95
    assert load.gap_p50 <= load.gap_p95
