"""An engine to look at."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from exsa_lab.engine.engine import Engine
from exsa_lab.testing import scripted_engine
from tests.doctor.parts import model


@pytest.fixture
def engine() -> Iterator[Engine]:
    with scripted_engine(model(), model("small letters")) as engine:
        yield engine
