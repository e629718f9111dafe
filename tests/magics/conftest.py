"""A shell, and the kernel's engine in it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from exsa_lab import loading
from exsa_lab.engine.engine import Engine
from exsa_lab.magics import progress
from exsa_lab.testing import scripted_engine
from tests.magics.parts import FakeLoad, alphabet
from tests.shell import Shell, shell


@pytest.fixture(scope="module")
def ip() -> Iterator[Shell]:
    with shell() as made:
        yield made


@pytest.fixture
def fake_load(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeLoad]:
    loading.unload()
    fake = FakeLoad()
    monkeypatch.setattr(progress, "load", fake)
    yield fake
    loading.unload()


@pytest.fixture
def slow_engine() -> Iterator[Engine]:
    yield loading.use(scripted_engine(alphabet(step_s=0.005), n_ctx=4096))
    loading.unload()
