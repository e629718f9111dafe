"""What the doctor says of an engine."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from exsa_lab.doctor import status
from exsa_lab.engine.engine import Engine
from exsa_lab.runtime.protocol import UNLIMITED
from exsa_lab.testing import ScriptedModel, scripted_engine


def model(name: str = "letters", *, max_rollback: int = UNLIMITED) -> ScriptedModel:
    return ScriptedModel("abc", lambda tokens: [0.2, 0.5, 0.3], name=name, max_rollback=max_rollback)


@pytest.fixture
def engine() -> Iterator[Engine]:
    with scripted_engine(model(), model("small letters")) as engine:
        yield engine


def test_status_of_an_engine_at_work(engine: Engine) -> None:
    engine.generate("abc", max_tokens=5)
    rows = dict(status(engine).sections[0].rows)
    assert rows["target"] == "letters"
    assert rows["so far"].startswith("5 tokens")
