from __future__ import annotations

import json
from pathlib import Path

import pytest

from exsa_lab.bench.measure import Middle, Ratio
from exsa_lab.bench.report import Check, Report, machine_line, save


def example() -> Report:
    report = Report("decode", {"model": "tiny"}, machine="a machine")
    table = report.table("tiny as-shipped", "contender", "tok/s", "against bare")
    table.add("bare", 1234.5, None)
    table.add("exsa_lab", 99.25, Ratio(0.98, 0.95, 1.01))
    report.checks += [Check("fast enough", 0.98, 0.97), Check("small enough", 4.0, 3.0, at_least=False)]
    report.notes.append("A note.")
    return report


def test_text_has_machine_table_promises_and_notes() -> None:
    assert example().to_text().splitlines() == [
        "exsa_lab bench decode",
        "a machine",
        "model tiny",
        "",
        "tiny as-shipped",
        "contender  tok/s        against bare",
        "------------------------------------",
        "bare       1,234",
        "exsa_lab    99.2  x0.98 (0.95..1.01)",
        "",
        "ok   fast enough: 0.98 (promised >= 0.97)",
        "MISS small enough: 4 (promised <= 3)",
        "",
        "A note.",
    ]


def test_a_row_needs_a_cell_for_each_column() -> None:
    with pytest.raises(ValueError, match="2 cells for 3 columns"):
        example().tables[0].add("short", 1.0)


def test_rounds_of_the_same_work_that_differ_are_warned_of() -> None:
    report = example()
    report.tables[0].add("llama", Middle(100.0, 95.0, 103.0), None)
    assert report.warning == ""
    report.tables[0].add("texts", Middle(100.0, 50.0, 103.0, is_alike=False), None)
    assert report.warning == ""
    report.tables[0].add("peer", Middle(100.0, 80.0, 104.0), None)
    warning = "Machine busy: the rounds of peer (tiny as-shipped) differ by 30 %."
    assert report.warning == report.to_json()["warning"] == warning
    assert report.to_text().splitlines()[-1] == warning


def test_json_keeps_numbers_unrounded_and_ratios_whole(tmp_path: Path) -> None:
    save([example()], tmp_path / "out.json")
    (report,) = json.loads((tmp_path / "out.json").read_text())
    assert report["tables"][0]["rows"] == [
        {"contender": "bare", "tok/s": 1234.5, "against bare": None},
        {"contender": "exsa_lab", "tok/s": 99.25, "against bare": {"median": 0.98, "low": 0.95, "high": 1.01}},
    ]
    assert [check["is_met"] for check in report["checks"]] == [True, False]


def test_the_machine_line_names_cores_and_versions() -> None:
    assert "cores" in machine_line()
    assert "exsa-lab" in machine_line()
