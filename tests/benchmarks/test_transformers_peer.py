"""transformers in a process of its own; what it generates is measured where it is installed."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.transformers_peer import Transformers
from exsa_lab.errors import EngineError


def test_a_process_that_ends_is_said_so(tmp_path: Path) -> None:
    with (
        Transformers(tmp_path / "none.gguf", tmp_path / "none.gguf", "cpu") as peer,
        pytest.raises(EngineError, match="ended with code 1"),
    ):
        peer.tokens_per_second([1, 2], 4, is_assisted=False)
