"""A sequence and its generation without an engine, for tests of what the loop calls."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any

from exsa_lab.config import EngineConfig, SamplingParams
from exsa_lab.engine.generation import EngineAccess, Generation
from exsa_lab.engine.sequence import Sequence, begin_sequence, encode
from exsa_lab.testing import ScriptedModel

LETTERS = ScriptedModel([*"abcdefgh", "."], lambda tokens: [1 / 9] * 9, ends=[8])
END = 8


class Access:
    """Stands in for the engine: notes what is cancelled and what ended, and calls listeners at once."""

    def __init__(self) -> None:
        self.cancelled: list[Generation] = []
        self.ended: list[Generation] = []

    def notify(self, callback: Callable[[], object]) -> None:
        with contextlib.suppress(Exception):
            callback()

    def given(self) -> EngineAccess:
        unused: Any = None
        return EngineAccess(
            engine=unused,
            config=EngineConfig(),
            model_names={"target": "letters", "draft": None},
            cancel=self.cancelled.append,
            is_alive=lambda: True,
            ended=self.ended.append,
            watched=lambda generation: None,
            more=unused,
            branch=unused,
            notify=self.notify,
            positions=unused,
            with_cells=lambda events: events,
        )


def generation(prompt: str | list[dict[str, str]] = "abc", access: Access | None = None, **params: Any) -> Generation:
    return Generation((access or Access()).given(), 1, prompt, SamplingParams.from_kwargs(**params))


def sequence(prompt: str = "abc", **params: Any) -> Sequence:
    handle = generation(prompt, **params)
    return begin_sequence(handle, LETTERS, encode(handle, LETTERS, 64))
