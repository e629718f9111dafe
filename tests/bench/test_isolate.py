"""Both engines are measured with the same requests, in turns."""

from __future__ import annotations

import argparse

import pytest

from exsa_lab.bench import isolate
from exsa_lab.bench.setting import Options


@pytest.mark.real
def test_it_measures_both() -> None:
    report = isolate.run(Options(repeats=1, quick=True, given=argparse.Namespace(tokens=4)))
    assert [row[0] for row in report.tables[0].rows] == ["1", "16"]
    assert all(check.value > 0 for check in report.checks)
