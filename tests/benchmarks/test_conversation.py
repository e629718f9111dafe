"""A short conversation is measured turn by turn."""

from __future__ import annotations

import pytest

from benchmarks import conversation
from exsa_lab.bench.setting import Options


@pytest.mark.real
def test_turns_and_what_is_cached() -> None:
    report = conversation.run(Options(repeats=1, quick=True))
    assert [row[0] for row in report.tables[0].rows] == [1, 2, 3]
    assert report.checks[0].is_met
