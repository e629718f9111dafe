"""Numbers as people read them."""

from __future__ import annotations

import pytest

from exsa_lab.doctor.units import size


@pytest.mark.parametrize(
    ("number", "text"), [(0, "0 B"), (1023, "1023 B"), (1024, "1.0 KiB"), (90 << 20, "90.0 MiB"), (1 << 42, "4.0 TiB")]
)
def test_sizes(number: int, text: str) -> None:
    assert size(number) == text
    assert size(None) == "unknown"
