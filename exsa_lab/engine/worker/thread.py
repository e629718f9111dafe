"""The engine thread: it owns target, draft and their caches, and others talk to it through its inbox.

Whatever is raised while it carries out a command or a step fails the generation it belongs to. Where even that fails
the thread ends, and with it, each with an error, everything that was given to it.
"""

from __future__ import annotations

import contextlib
import copy
import os
import queue
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any, TypeVar

from exsa_lab.config import EngineConfig
from exsa_lab.costs.model import CostModel
from exsa_lab.engine.assembly import Models, assemble
from exsa_lab.engine.generation import Generation
from exsa_lab.engine.loop import Loop
from exsa_lab.engine.sequence import Sequence as EngineSequence
from exsa_lab.engine.sequence import begin_sequence, encode
from exsa_lab.engine.stats import EngineStatus, StepRecord
from exsa_lab.engine.worker import EngineState
from exsa_lab.engine.worker.preparing import CANNOT_BEGIN, Preparing
from exsa_lab.errors import LOAD_AGAIN, EngineClosed, EngineError, EngineFailed, ExsaError, defect, shown
from exsa_lab.prompts.encode import EncodedPrompt
from exsa_lab.runtime.protocol import Model, ProgressCallback
from exsa_lab.signals import held_interrupts
from exsa_lab.trace.positions import Positions, read_positions
from exsa_lab.trace.trace import Trace

T = TypeVar("T")
OpenModels = Callable[[ProgressCallback], Models]
ABORT_ABOVE_TOKENS = 32
"""A cancelled step of fewer tokens is over before an abort would pay; it would cost the others their work."""
CLOSED = "the engine was closed"
_POLL_S = 0.05
_PATIENCE_S = 60.0
"""Longest wait for the thread to end."""


@dataclass(frozen=True, slots=True)
class _Submit:
    generation: Generation
    encoded: EncodedPrompt | None = None


@dataclass(frozen=True, slots=True)
class _Cancel:
    generation: Generation


@dataclass(frozen=True, slots=True)
class _Call:
    function: Callable[[Loop], Any]
    future: Future[Any]


@dataclass(frozen=True, slots=True)
class _Close:
    pass


_Command = _Submit | _Cancel | _Call | _Close


class EngineThread:
    """See `exsa_lab.engine.worker.Worker`.

    ``open_models`` runs on the thread and returns the opened models; its errors are raised here. ``progress`` is called
    here, too, with the fraction loaded.
    """

    def __init__(
        self, open_models: OpenModels, config: EngineConfig, progress: Callable[[float], None] | None = None
    ) -> None:
        self.failure: ExsaError | None = None
        self.restarts = False
        self._config = config
        self._pid = os.getpid()
        self._inbox: queue.SimpleQueue[_Command] = queue.SimpleQueue()
        self._lock = threading.Lock()  # guards _is_closed and _is_over: nothing is put into the inbox after them
        self._is_closed = False
        self._is_over = False
        self._fraction = 0.0
        self._stop_loading = threading.Event()
        self._opened: Future[tuple[Models, Loop, Preparing]] = Future()
        self._thread = threading.Thread(target=self._run, args=(open_models,), name="exsa-engine", daemon=True)
        try:
            self._thread.start()
            self._models, self._loop, self._preparing = self._wait_until_open(progress or (lambda _: None))
        except BaseException:
            with held_interrupts():
                self._stop_loading.set()
                self._inbox.put(_Close())  # in case it is open by now
                self._join()
            raise

    def _wait_until_open(self, progress: Callable[[float], None]) -> tuple[Models, Loop, Preparing]:
        told = 0.0
        while True:
            with contextlib.suppress(TimeoutError):
                opened = self._opened.result(timeout=_POLL_S)
                if told < self._fraction:
                    progress(self._fraction)
                return opened
            if self._opened.done():
                return self._opened.result()  # the TimeoutError was raised while loading
            if told < self._fraction:
                progress(told := self._fraction)

    # What it runs

    @property
    def state(self) -> EngineState:
        if self._is_closed:
            return EngineState.CLOSED
        return EngineState.OPEN if self._is_alive and not self._is_over else EngineState.FAILED

    @property
    def _is_alive(self) -> bool:
        """Asked of the thread and the process: a fork copies the flags of a thread that it does not have."""
        return self._pid == os.getpid() and self._thread.is_alive()

    @property
    def target(self) -> Model:
        return self._models.target

    @property
    def draft(self) -> Model | None:
        return self._models.draft

    @property
    def notes(self) -> tuple[str, ...]:
        return self._models.notes + tuple(self._loop.reporter.defects)

    @property
    def steps(self) -> Sequence[StepRecord]:
        return self._loop.reporter.steps

    @property
    def started(self) -> float:
        return self._loop.reporter.started

    def status(self) -> EngineStatus:
        state = self.state
        return self._loop.status(state) if state is EngineState.OPEN else EngineStatus(state=state)

    # Commands

    def submit(self, generation: Generation) -> None:
        if self.state is not EngineState.OPEN:  # its model may be freed
            raise self._refusal()
        if self._preparing.is_ready(generation):
            self._put(_Submit(generation))
            return
        with self._lock:
            if self._is_closed or self._is_over:
                raise self._refusal()
            self._preparing.add(generation)
        self._preparing.start(generation)

    def cancel(self, generation: Generation) -> None:
        if self._preparing.forget(generation):
            generation.end_cancelled(generation.cancel_reason)
            return
        with contextlib.suppress(EngineError):  # it is over, or will be told so
            self._put(_Cancel(generation))
            if self._loop.is_in_step(generation, min_tokens=ABORT_ABOVE_TOKENS):
                self._loop.context.abort()

    def watched(self, generation: Generation) -> None:
        pass  # the loop asks the generation itself

    def call(self, function: Callable[[Loop], T]) -> T:
        if threading.current_thread() is self._thread:
            return function(self._loop)
        future: Future[T] = Future()
        self._put(_Call(function, future))
        while self._is_alive and not future.done():
            with contextlib.suppress(TimeoutError):
                return future.result(timeout=0.2)
        if not future.done():
            raise self._refusal()
        return future.result()

    def costs(self) -> CostModel | None:
        return self.call(lambda _: copy.deepcopy(self._models.costs))

    def positions(self, trace: Trace) -> Positions:
        target, draft, n_threads = self.target, self.draft, self._models.n_threads
        return self.call(lambda _: read_positions(trace, target, draft, self._config, n_threads=n_threads))

    def close(self) -> None:
        if self._pid != os.getpid():  # a fork has no thread to stop, and nothing of it to free
            self._is_closed = True
            return
        with held_interrupts():
            with self._lock:
                if not self._is_closed and not self._is_over:
                    self._inbox.put(_Close())
                self._is_closed = True
            self._loop.context.abort()
            self._join()

    def _join(self) -> None:
        """Wait for the thread, which was told to end; a decode that never returns is waited for so long only."""
        if threading.current_thread() is not self._thread and self._thread.ident is not None:
            self._thread.join(_PATIENCE_S)

    def _put(self, command: _Command) -> None:
        if self._pid != os.getpid():
            raise self._refusal()
        with self._lock:
            if self._is_closed or self._is_over:
                raise self._refusal()
            self._inbox.put(command)

    def _refusal(self) -> EngineError:
        if self._is_closed:
            return EngineClosed("the engine is closed.", hint=LOAD_AGAIN)
        if self._pid != os.getpid():
            return EngineFailed(f"the engine lives in process {self._pid}, of which this is a fork.", hint=LOAD_AGAIN)
        return EngineFailed(f"the engine has failed: {shown(str(self.failure))[1:-1]}", hint=LOAD_AGAIN)

    # On the thread

    def _run(self, open_models: OpenModels) -> None:
        try:
            models = open_models(self._on_progress)
            loop = assemble(models, self._config, is_stopping=self._stop_loading.is_set)
        except BaseException as error:  # raised again where the engine was asked for
            self._opened.set_exception(error)
            return
        preparing = Preparing(models.target, loop.slots.n_cells, lambda *ready: self._inbox.put(_Submit(*ready)))
        self._opened.set_result((models, loop, preparing))
        sequences: dict[Generation, EngineSequence] = {}
        try:
            self._serve(loop, sequences)
        except BaseException as cause:  # nobody may wait for ever for a thread that is gone
            self.failure = cause if isinstance(cause, EngineFailed) else defect("the engine thread ended", cause)
        finally:
            self._end(sequences, preparing)
            with preparing.nobody_encodes():
                for close in (loop.close, models.close):
                    with contextlib.suppress(BaseException):
                        close()

    def _on_progress(self, fraction: float) -> bool:
        self._fraction = fraction
        return not self._stop_loading.is_set()

    def _serve(self, loop: Loop, sequences: dict[Generation, EngineSequence]) -> None:
        while True:
            for command in self._commands(loop):
                if isinstance(command, _Close):
                    _cancel_all(loop)
                    return
                self._carry_out(command, loop, sequences)
            _expire(loop)
            if loop.has_work:
                _step(loop)
            for generation in [g for g in sequences if g.state.is_final]:
                del sequences[generation]

    def _commands(self, loop: Loop) -> Iterator[_Command]:
        """What came in; waits where there is nothing else to do."""
        while True:
            try:
                yield self._inbox.get(block=not loop.has_work)
            except queue.Empty:
                return

    def _carry_out(self, command: _Command, loop: Loop, sequences: dict[Generation, EngineSequence]) -> None:
        match command:
            case _Submit(generation, encoded) if not generation.state.is_final:
                with _failing(generation, CANNOT_BEGIN):
                    encoded = encoded or encode(generation, loop.target, loop.slots.n_cells)
                    sequence = begin_sequence(generation, loop.target, encoded)
                    loop.add(sequence)
                    sequences[generation] = sequence
            case _Cancel(generation):
                if (found := sequences.get(generation)) is None:  # its prompt is still to come, or never will
                    generation.end_cancelled(generation.cancel_reason)
                elif not generation.state.is_final:
                    loop.cancel(found, generation.cancel_reason)
            case _Call(function, future):
                _answer(future, function, loop)

    def _end(self, sequences: dict[Generation, EngineSequence], preparing: Preparing) -> None:
        """Nothing may be left that somebody waits for."""
        with self._lock:
            self._is_over = True
        ended = [*sequences, *preparing.end()]
        while not self._inbox.empty():
            command = self._inbox.get()
            if isinstance(command, _Submit):
                ended.append(command.generation)
            elif isinstance(command, _Call):
                command.future.set_exception(self._refusal())
        for generation in ended:
            if self.failure is not None:
                generation.fail(self.failure)
            else:
                generation.end_cancelled(CLOSED)


def _step(loop: Loop) -> None:
    try:
        with loop.reporter.on_record():
            loop.step()
    except EngineFailed:
        raise
    except BaseException as cause:  # a defect must end the generations it hit, never hang their cells
        error = defect("the engine step failed", cause)
        for sequence in loop.sequences:
            loop.fail(sequence, error)


def _cancel_all(loop: Loop) -> None:
    for sequence in loop.sequences:
        generation = sequence.generation
        generation.cancel_reason = generation.cancel_reason or CLOSED
        loop.cancel(sequence, generation.cancel_reason)


def _expire(loop: Loop) -> None:
    now = time.perf_counter()
    for sequence in loop.sequences:
        if sequence.deadline is not None and now >= sequence.deadline:
            generation = sequence.generation
            generation.cancel_reason = generation.cancel_reason or f"timeout of {sequence.params.timeout:g} s"
            loop.cancel(sequence, generation.cancel_reason)


@contextlib.contextmanager
def _failing(generation: Generation, what: str) -> Iterator[None]:
    """Whatever is raised inside belongs to this generation."""
    try:
        yield
    except ExsaError as error:
        generation.fail(error)
    except BaseException as cause:
        generation.fail(defect(what, cause))


def _answer(future: Future[Any], function: Callable[[Loop], Any], loop: Loop) -> None:
    try:
        loop.flush()
        future.set_result(function(loop))
    except BaseException as error:  # it belongs to the caller, who waits for it
        future.set_exception(error)
