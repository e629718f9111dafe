"""Steps behind texts of several lengths are measured for each way to compute attention."""

from __future__ import annotations

import pytest

from benchmarks import attention
from exsa_lab.bench.setting import Options


@pytest.mark.real
def test_every_way_at_every_length() -> None:
    (table,) = attention.run(Options(repeats=1, quick=True)).tables
    assert [row[:2] for row in table.rows] == [(length, way) for length in (16, 32) for way in attention.WAYS]
    assert all(milliseconds.low > 0 for row in table.rows for milliseconds in row[2:])
