"""An engine whose loop runs in a child process: a file that crashes llama.cpp does not end this one.

The handles are the ones users know; one thread reads what the child tells and writes it to them, as the engine thread
does otherwise. A child that dies or stops answering ends every generation it had with an error, partial texts kept, and
the next submission starts another one.
"""

from __future__ import annotations

import os
import pickle
import threading
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import numpy as np

from exsa_lab.config import EngineConfig
from exsa_lab.costs.cache import costs_from_json
from exsa_lab.costs.model import CostModel
from exsa_lab.engine.generation import Generation
from exsa_lab.engine.loop import Loop
from exsa_lab.engine.stats import EngineStatus, StepRecord
from exsa_lab.engine.worker import EngineState
from exsa_lab.engine.worker.child_process import ChildProcess
from exsa_lab.engine.worker.remote_model import not_here
from exsa_lab.engine.worker.thread import OpenModels
from exsa_lab.errors import LOAD_AGAIN, EngineClosed, EngineFailed, ExsaError
from exsa_lab.runtime.protocol import Model
from exsa_lab.signals import held_interrupts
from exsa_lab.trace.positions import Positions
from exsa_lab.trace.trace import Trace

T = TypeVar("T")


class IsolatedWorker:
    """See `exsa_lab.engine.worker.Worker`.

    ``open_models`` must be something pickle knows: it is called in the child.
    """

    def __init__(
        self, open_models: OpenModels, config: EngineConfig, progress: Callable[[float], None] | None = None
    ) -> None:
        self.restarts = True
        self._open_models = open_models
        self._config = config
        self._pid = os.getpid()
        self._is_closed = False
        self._starting = threading.Lock()
        self._child = ChildProcess(open_models, config, progress, self._ask)

    @property
    def state(self) -> EngineState:
        if self._is_closed:
            return EngineState.CLOSED
        return EngineState.FAILED if self._child.is_over or self._pid != os.getpid() else EngineState.OPEN

    @property
    def failure(self) -> ExsaError | None:
        return self._child.failure

    @property
    def pid(self) -> int:
        """The child's process id."""
        return self._child.pid

    @property
    def target(self) -> Model:
        return self._child.target

    @property
    def draft(self) -> Model | None:
        return self._child.draft

    @property
    def notes(self) -> tuple[str, ...]:
        return self._child.notes

    @property
    def steps(self) -> Sequence[StepRecord]:
        return list(self._child.steps)

    @property
    def started(self) -> float:
        return self._child.started

    def status(self) -> EngineStatus:
        return self._child.status if self.state is EngineState.OPEN else EngineStatus(state=self.state)

    def submit(self, generation: Generation) -> None:
        self._running_child().submit(generation)

    def cancel(self, generation: Generation) -> None:
        if self.state is not EngineState.OPEN or not self._child.cancel(generation):
            generation.end_cancelled(generation.cancel_reason)  # nobody has it

    def watched(self, generation: Generation) -> None:
        if self.state is EngineState.OPEN and not generation.state.is_final:
            self._child.send("watch", generation.id)

    def call(self, function: Callable[[Loop], T]) -> T:
        """Only for functions that pickle knows by name and the child can import, and values that JSON knows."""
        try:
            named = pickle.dumps(function)
        except (pickle.PicklingError, AttributeError, TypeError):
            not_here("the loop")
        value: T = self._running_child().call("function", named)[0]
        return value

    def costs(self) -> CostModel | None:
        data, _ = self._running_child().call("costs")
        return None if data is None else costs_from_json(data)

    def positions(self, trace: Trace) -> Positions:
        shapes, parts = self._running_child().call("positions", trace)
        arrays = [np.frombuffer(part, np.float32).reshape(shape) for shape, part in zip(shapes, parts, strict=True)]
        return Positions(trace.tokens, arrays[0], arrays[1] if len(arrays) > 1 else None, self.target)

    def close(self) -> None:
        with held_interrupts():
            was_closed, self._is_closed = self._is_closed, True
            if not was_closed and self._pid == os.getpid():
                self._child.close()

    def _running_child(self) -> ChildProcess:
        """The child, another one where it died; raises what opening the models raises."""
        if self._is_closed:
            raise EngineClosed("the engine is closed.", hint=LOAD_AGAIN)
        if self._pid != os.getpid():
            raise EngineFailed(f"the engine belongs to process {self._pid}, of which this is a fork.", hint=LOAD_AGAIN)
        with self._starting:
            if self._child.is_over:
                self._child = ChildProcess(self._open_models, self._config, None, self._ask)
            return self._child

    def _ask(self, name: str, *args: Any) -> Any:
        return self._running_child().call(name, *args)
