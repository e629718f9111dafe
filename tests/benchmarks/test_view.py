from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks import main


@pytest.mark.real
def test_a_cell_is_measured_with_and_without_the_strip(tmp_path: Path) -> None:
    assert main(["view", "--quick", "--tokens", "6", "--json", str(tmp_path / "out.json")]) == 0
    (report,) = json.loads((tmp_path / "out.json").read_text())
    (table,) = report["tables"]
    assert [row["cell"] for row in table["rows"]] == ["%%exsa --view tokens", "%%exsa --view none"]
    assert all(row["tok/s"]["median"] > 0 for row in table["rows"])
