"""What the doctor says of an engine."""

from __future__ import annotations

from exsa_lab.doctor import status
from exsa_lab.engine.engine import Engine


def test_status_of_an_engine_at_work(engine: Engine) -> None:
    engine.generate("abc", max_tokens=5)
    rows = dict(status(engine).sections[0].rows)
    assert rows["target"] == "letters"
    assert rows["so far"].startswith("5 tokens")
