"""What the tests of the magics run on: a scripted model, and a stand-in for loading."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from exsa_lab import loading
from exsa_lab.engine.engine import Engine
from exsa_lab.testing import ScriptedModel, scripted_engine

LETTERS = "abcdefgh {}\n"


def alphabet(*, step_s: float = 0.0) -> ScriptedModel:
    """A model that goes on with the letters a to h in their order, over and over."""

    def next_probs(tokens: tuple[int, ...]) -> list[float]:
        after = (tokens[-1] + 1) % 8
        return [1.0 if token == after else 0.0 for token in range(len(LETTERS))]

    return ScriptedModel(LETTERS, next_probs, step_s=step_s, name="alphabet")


class FakeLoad:
    """Stands in for `exsa_lab.load`: scripted engines, the same one for the same arguments."""

    def __init__(self) -> None:
        self.asked: list[tuple[object, ...]] = []

    def __call__(self, target: str, draft: str | None, *, progress: Callable[[float], None], **config: Any) -> Engine:
        progress(0.5)
        if self.asked and self.asked[-1] == (target, draft, config):
            return loading.get_engine()
        self.asked.append((target, draft, config))
        return loading.use(scripted_engine(alphabet(), alphabet() if draft else None, **config))
