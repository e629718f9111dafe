"""Who is compared with whom, and what is promised, at given speeds."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from exsa_lab.bench import decode
from exsa_lab.bench.decode import BARE, ENGINE, LLAMA, LLAMA_FLASH
from exsa_lab.bench.measure import middle

SPEEDS = {BARE: 100.0, ENGINE: 98.0, LLAMA: 80.0, LLAMA_FLASH: 90.0}


def run(monkeypatch: pytest.MonkeyPatch, device: str) -> Any:
    given = SimpleNamespace(tokens=8)
    options: Any = SimpleNamespace(
        model="m", given=given, repeats=2, device=device, progress=None, pick=lambda usual, quick: usual
    )
    monkeypatch.setattr(decode, "subjects", lambda options: [SimpleNamespace(name="Q8_0")])
    runs = {name: lambda _, speed=speed: speed for name, speed in SPEEDS.items()}
    monkeypatch.setattr(decode, "_contenders", lambda subject, max_tokens, stack: runs)
    return decode.run(options)


def test_every_contender_is_compared_with_both_baselines(monkeypatch: pytest.MonkeyPatch) -> None:
    (table,) = run(monkeypatch, "cpu").tables
    rows = {row[0]: row for row in table.rows}
    assert list(rows) == list(SPEEDS)
    assert rows[ENGINE][1] == middle([98.0])
    assert [round(each.median, 3) for each in rows[ENGINE][2:]] == [0.98, 1.225]


@pytest.mark.parametrize(("device", "held"), [("cpu", [True, True]), ("gpu", [True, False])])
def test_promises_depend_on_the_device(monkeypatch: pytest.MonkeyPatch, device: str, held: list[bool]) -> None:
    report = run(monkeypatch, device)
    assert [check.value >= check.wanted for check in report.checks] == held
