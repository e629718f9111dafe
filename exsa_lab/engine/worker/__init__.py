"""What an engine runs on: a thread of this process, or a process of its own. And how it is found dead."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from enum import StrEnum
from typing import Protocol, TypeVar

from exsa_lab.costs.model import CostModel
from exsa_lab.engine.generation import Generation
from exsa_lab.engine.loop import Loop
from exsa_lab.engine.stats import EngineStatus, StepRecord
from exsa_lab.errors import ExsaError
from exsa_lab.runtime.protocol import Model
from exsa_lab.trace.positions import Positions
from exsa_lab.trace.trace import Trace

T = TypeVar("T")


class EngineState(StrEnum):
    """Life of an engine: open until it is closed, or until it ends by itself and has failed."""

    OPEN = "open"
    CLOSED = "closed"
    FAILED = "failed"


class Worker(Protocol):
    """Owns the loop. Every method may be called from any thread; only its own thread writes to generations.

    A generation that was given to it always ends: finished, cancelled or failed, at the latest with the worker.
    """

    @property
    def state(self) -> EngineState: ...

    @property
    def failure(self) -> ExsaError | None:
        """Why it ended by itself."""

    restarts: bool
    """Whether it begins anew with the next submission after it failed."""

    @property
    def target(self) -> Model: ...

    @property
    def draft(self) -> Model | None: ...

    @property
    def notes(self) -> tuple[str, ...]: ...

    @property
    def steps(self) -> Sequence[StepRecord]: ...

    @property
    def started(self) -> float: ...

    def status(self) -> EngineStatus: ...

    def submit(self, generation: Generation) -> None:
        """Raises EngineClosed or EngineFailed where it does not run."""

    def cancel(self, generation: Generation) -> None: ...

    def watched(self, generation: Generation) -> None:
        """Somebody listens to its events now."""

    def call(self, function: Callable[[Loop], T]) -> T: ...

    def costs(self) -> CostModel | None: ...

    def positions(self, trace: Trace) -> Positions: ...

    def close(self) -> None: ...
