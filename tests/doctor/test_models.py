"""What the doctor says of model files and the catalog."""

from __future__ import annotations

from exsa_lab.doctor import models


def test_the_catalog_says_what_is_here() -> None:
    rows = {row[0]: row for row in models().sections[0].rows}
    assert rows["smollm2-135m-draft"][-1] == "comes with exsa_lab"
    assert len(rows) == len(models().sections[0].rows)
    assert rows["llama-3.3-70b"][-1] == "not here"
