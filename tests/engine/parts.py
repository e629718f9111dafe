"""A sequence and its generation without an engine, for tests of what the loop calls."""

from __future__ import annotations

from typing import Any

from exsa_lab.config import EngineConfig, SamplingParams
from exsa_lab.engine.generation import EngineAccess, Generation
from exsa_lab.engine.sequence import Sequence, begin_sequence
from exsa_lab.testing import ScriptedModel

LETTERS = ScriptedModel([*"abcdefgh", "."], lambda tokens: [1 / 9] * 9, ends=[8])
END = 8


def generation(prompt: str | list[dict[str, str]] = "abc", **params: Any) -> Generation:
    """A generation whose engine only notes what is cancelled, in ``cancelled``."""
    cancelled: list[Generation] = []
    access = EngineAccess(EngineConfig(), {"target": "letters", "draft": None}, cancelled.append, lambda trace: None)  # type: ignore[arg-type, return-value]
    made = Generation(access, 1, prompt, SamplingParams.from_kwargs(**params))
    made.cancelled = cancelled  # type: ignore[attr-defined]
    return made


def sequence(prompt: str = "abc", **params: Any) -> Sequence:
    return begin_sequence(generation(prompt, **params), LETTERS, 64)
