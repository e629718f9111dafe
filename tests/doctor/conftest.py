"""An engine to look at, and a log of its own: llama.cpp's is that of the process, whatever ran there before."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from exsa_lab.doctor import engine as engine_sections
from exsa_lab.engine.engine import Engine
from exsa_lab.testing import scripted_engine
from tests.doctor.parts import model


@pytest.fixture
def engine() -> Iterator[Engine]:
    with scripted_engine(model(), model("small letters")) as engine:
        yield engine


@pytest.fixture(autouse=True)
def log(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The lines of llama.cpp's log, oldest first: none, unless a test adds them."""
    lines: list[str] = []
    monkeypatch.setattr(engine_sections, "log_lines", lambda: list(lines))
    return lines
