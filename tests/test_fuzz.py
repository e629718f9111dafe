"""A moment of each fuzzer; `python -m tests.fuzz all --seconds 60` goes on."""

from __future__ import annotations

import pytest

from tests import fuzz


@pytest.mark.parametrize("name", fuzz.NAMES)
def test_a_moment_of(name: str) -> None:
    fuzz.run_some(name, 200)
