"""The engine: one thread that owns target, draft and their caches; everything else talks to it through its inbox."""

from __future__ import annotations

import copy
import itertools
import queue
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Self, TypeVar

from exsa_lab.config import EngineConfig, SamplingParams
from exsa_lab.costs.model import CostModel
from exsa_lab.engine.assembly import Models, assemble
from exsa_lab.engine.generation import EngineAccess, Generation, Message
from exsa_lab.engine.loop import Loop
from exsa_lab.engine.sequence import Sequence, begin_sequence
from exsa_lab.engine.stats import EngineStatus, StepRecord
from exsa_lab.errors import DecodeError, EngineClosed, ExsaError, QueueFull
from exsa_lab.events import State, StateEvent
from exsa_lab.runtime.protocol import Model, ProgressCallback
from exsa_lab.trace.positions import Positions, read_positions
from exsa_lab.trace.trace import Trace

T = TypeVar("T")
MAX_RECENT = 200
ABORT_ABOVE_TOKENS = 32
"""A cancelled step of fewer tokens is over before an abort would pay; it would cost the others their work."""


class EngineState(StrEnum):
    """Life of an engine: opening -> open -> closed."""

    OPENING = "opening"
    OPEN = "open"
    CLOSED = "closed"


@dataclass(frozen=True, slots=True)
class _Submit:
    generation: Generation


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


class Engine:
    """Generates text for many callers at once.

    ``open_models`` runs on the engine thread and returns the opened models; its errors are raised here.

    Example::

        with xl.load() as engine:
            gen = engine.submit("Why is the sky blue?", max_tokens=64)
            print(gen.result())
    """

    def __init__(
        self,
        open_models: Callable[[ProgressCallback], Models],
        config: EngineConfig,
        *,
        progress: Callable[[float], None] | None = None,
    ) -> None:
        self.config = config
        self._state = EngineState.OPENING
        self._inbox: queue.SimpleQueue[_Command] = queue.SimpleQueue()
        self._ids = itertools.count(1)
        # Handles by id, newest last; appended by callers under the lock, read by anyone.
        self._lock = threading.Lock()
        self._recent: deque[Generation] = deque(maxlen=MAX_RECENT)
        self._num_pending = 0
        self._stop_loading = threading.Event()
        self._opened: Future[tuple[Models, Loop]] = Future()
        self._thread = threading.Thread(target=self._run, args=(open_models, progress), name="exsa-engine", daemon=True)
        self._thread.start()
        self._models, self._loop = self._wait_until_open()
        self._access = EngineAccess(config, self.model_names, self.cancel, self.positions)
        self._state = EngineState.OPEN

    def _wait_until_open(self) -> tuple[Models, Loop]:
        try:
            while True:
                try:
                    return self._opened.result(timeout=0.1)
                except TimeoutError:
                    if self._opened.done():
                        raise
        except BaseException:
            self._stop_loading.set()
            self._thread.join()
            self._state = EngineState.CLOSED
            raise

    def __repr__(self) -> str:
        status = self.status()
        return f"<Engine {status.state}: {self.target.name}, {status.running} running, {status.waiting} waiting>"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # What it runs

    @property
    def state(self) -> EngineState:
        return self._state

    @property
    def target(self) -> Model:
        return self._models.target

    @property
    def draft(self) -> Model | None:
        return self._models.draft

    @property
    def model_names(self) -> dict[str, str | None]:
        return {"target": self.target.name, "draft": self.draft.name if self.draft else None}

    @property
    def notes(self) -> tuple[str, ...]:
        """What loading had to say, such as why drafting is off."""
        return self._models.notes

    @property
    def generations(self) -> list[Generation]:
        """The most recent generations, newest last."""
        with self._lock:
            return list(self._recent)

    @property
    def steps(self) -> list[StepRecord]:
        """The most recent steps, newest last."""
        return list(self._loop.reporter.steps)

    @property
    def started(self) -> float:
        """`time.perf_counter` at which step times begin."""
        return self._loop.reporter.started

    @property
    def costs(self) -> CostModel | None:
        """What a step costs here, as measured at load and corrected since; None where nothing was measured.

        A copy: the engine goes on correcting its own.

        Example: ``engine.costs.step_seconds(4) / engine.costs.step_seconds(1)``.
        """
        return self.call(lambda _: copy.deepcopy(self._models.costs))

    def positions(self, trace: Trace) -> Positions:
        """Return the logits of target and draft before each token of a recorded text; see `Generation.positions`.

        Raises ConfigError for a trace without its prompt's tokens, one of another target, or one of more than
        `exsa_lab.trace.MAX_POSITIONS` tokens; OutOfMemory where there is no room.
        """
        target, draft, n_threads = self.target, self.draft, self._models.n_threads
        return self.call(lambda _: read_positions(trace, target, draft, self.config, n_threads=n_threads))

    def status(self) -> EngineStatus:
        """Return what is going on right now."""
        if self._state is not EngineState.OPEN:
            return EngineStatus(state=self._state)
        return self._loop.status(self._state)

    # Requests

    def submit(self, prompt: str | list[Message], **params: Any) -> Generation:
        """Queue a prompt and return its handle at once; safe from any thread.

        Raises ConfigError for a bad parameter, QueueFull when too many wait, EngineClosed after `close`. What can
        only be seen by the model (a prompt too long, say) fails the generation instead.
        """
        checked = SamplingParams.from_kwargs(**params)
        with self._lock:
            self._check_open()
            if self._num_pending >= self.config.max_waiting + self.config.n_seq_max:
                raise QueueFull(
                    f"{self._num_pending} generations are waiting or running already.",
                    hint="Wait for some (engine.drain()), or load with a larger max_waiting.",
                )
            generation = Generation(self._access, next(self._ids), prompt, checked)
            self._recent.append(generation)
            self._num_pending += 1
            self._inbox.put(_Submit(generation))
        return generation

    def generate(self, prompt: str | list[Message], **params: Any) -> Generation:
        """Submit and wait. An interrupt cancels it and is raised on; the partial text stays on the handle.

        The handle is also the last of `generations`. Raises what `Generation.result` raises.
        """
        generation = self.submit(prompt, **params)
        try:
            generation.result()
        except KeyboardInterrupt:
            generation.cancel("interrupted")
            generation.wait(timeout=5)
            raise
        return generation

    def map(self, prompts: Iterable[str | list[Message]], *, progress: bool = True, **params: Any) -> list[Generation]:
        """Generate for many prompts at once; returns their handles in the order of the prompts.

        Nothing is raised for a prompt that fails: look at ``.error``. An interrupt cancels all of them and is raised
        on. ``progress`` shows a bar.
        """
        from tqdm.auto import tqdm

        todo = list(prompts)
        in_flight: deque[Generation] = deque()
        generations: list[Generation] = []
        with tqdm(total=len(todo), unit="prompt", disable=not progress) as bar:
            try:
                for prompt in todo:
                    if len(in_flight) >= 2 * self.config.n_seq_max:
                        in_flight.popleft().wait()
                        bar.update()
                    generations.append(self.submit(prompt, **params))
                    in_flight.append(generations[-1])
                for generation in in_flight:
                    generation.wait()
                    bar.update()
            except BaseException:
                for generation in generations:
                    generation.cancel("interrupted")
                raise
        return generations

    def cancel(self, generation: Generation) -> None:
        """Ask for a generation to be stopped; see `Generation.cancel`."""
        if generation.state.is_final or self._state is not EngineState.OPEN:
            return
        self._inbox.put(_Cancel(generation))
        if self._loop.is_in_step(generation, min_tokens=ABORT_ABOVE_TOKENS):
            self._loop.context.abort()

    def drain(self, timeout: float | None = None) -> bool:
        """Wait until nothing waits or runs; False when ``timeout`` seconds passed before that."""
        deadline = None if timeout is None else time.monotonic() + timeout
        for generation in self.generations:
            left = None if deadline is None else max(0.0, deadline - time.monotonic())
            if not generation.wait(left):
                return False
        return True

    def call(self, function: Callable[[Loop], T]) -> T:
        """Run ``function(loop)`` on the engine thread between two steps and return its result."""
        future: Future[T] = Future()
        with self._lock:
            self._check_open()
            self._inbox.put(_Call(function, future))
        return future.result()

    def close(self) -> None:
        """Cancel what runs, free the models and their memory. Calling it again does nothing."""
        with self._lock:
            if self._state is EngineState.CLOSED:
                return
            self._state = EngineState.CLOSED
            self._inbox.put(_Close())
        self._loop.context.abort()
        if threading.current_thread() is not self._thread:
            self._thread.join()

    def _check_open(self) -> None:
        if self._state is EngineState.CLOSED:
            raise EngineClosed("the engine is closed.", hint="Load it again with xl.load() or %exsa_load.")

    # Engine thread

    def _run(self, open_models: Callable[[ProgressCallback], Models], progress: Callable[[float], None] | None) -> None:
        def on_progress(fraction: float) -> bool:
            if progress is not None:
                progress(fraction)
            return not self._stop_loading.is_set()

        try:
            models = open_models(on_progress)
            loop = assemble(models, self.config)
        except BaseException as error:  # raised again where the engine was asked for
            self._opened.set_exception(error)
            return
        self._opened.set_result((models, loop))
        try:
            self._serve(loop)
        finally:
            loop.close()
            models.close()

    def _serve(self, loop: Loop) -> None:
        sequences: dict[Generation, Sequence] = {}
        while True:
            if self._take_inbox(loop, sequences):
                return
            self._expire(loop)
            if loop.has_work:
                self._step(loop)
            for generation in [g for g in sequences if g.state.is_final]:
                del sequences[generation]
                self._num_pending_down()

    def _step(self, loop: Loop) -> None:
        try:
            loop.step()
        except Exception as cause:  # a defect must end the generations it hit, never hang their cells
            error = DecodeError(
                f"the engine step failed: {cause!r}.", hint="Please report it with %exsa_doctor's text."
            )
            error.__cause__ = cause
            for sequence in loop.sequences:
                loop.fail(sequence, error)

    def _take_inbox(self, loop: Loop, sequences: dict[Generation, Sequence]) -> bool:
        """Carry out the commands that came in; True when the engine is to close."""
        while True:
            try:
                command = self._inbox.get(block=not loop.has_work)
            except queue.Empty:
                return False
            match command:
                case _Submit(generation):
                    if (sequence := self._begin(generation, loop)) is not None:
                        sequences[generation] = sequence
                        loop.add(sequence)
                case _Cancel(generation):
                    if (found := sequences.pop(generation, None)) is not None and not generation.state.is_final:
                        loop.cancel(found, generation.cancel_reason)
                        self._num_pending_down()
                case _Call(function, future):
                    loop.flush()
                    _answer(future, function, loop)
                case _Close():
                    for sequence in loop.sequences:
                        loop.cancel(sequence, "the engine was closed")
                    self._refuse_rest()
                    return True

    def _begin(self, generation: Generation, loop: Loop) -> Sequence | None:
        """Tokenize a prompt; a prompt that cannot run fails its generation and nobody else's."""
        try:
            return begin_sequence(generation, loop.target, loop.slots.n_cells)
        except ExsaError as error:
            generation.error = error
            generation.finish_reason = "error"
            self._num_pending_down()
            generation.publish([StateEvent(State.FAILED, str(error), time.perf_counter() - generation.submitted)])
            return None

    def _expire(self, loop: Loop) -> None:
        now = time.perf_counter()
        for sequence in loop.sequences:
            if sequence.deadline is not None and now >= sequence.deadline:
                reason = f"timeout of {sequence.params.timeout:g} s"
                sequence.generation.cancel_reason = reason
                loop.cancel(sequence, reason)

    def _refuse_rest(self) -> None:
        """The engine closes: end what was submitted meanwhile."""
        while not self._inbox.empty():
            command = self._inbox.get()
            if isinstance(command, _Submit):
                command.generation.cancel_reason = "the engine was closed"
                command.generation.finish_reason = "cancelled"
                command.generation.publish([StateEvent(State.CANCELLED, "the engine was closed")])
            elif isinstance(command, _Call):
                command.future.set_exception(EngineClosed("the engine was closed."))

    def _num_pending_down(self) -> None:
        with self._lock:
            self._num_pending -= 1


def _answer(future: Future[Any], function: Callable[[Loop], Any], loop: Loop) -> None:
    try:
        future.set_result(function(loop))
    except BaseException as error:  # it belongs to the caller, who waits for it
        future.set_exception(error)
