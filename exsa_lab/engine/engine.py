"""The engine as users hold it: submit, wait, look, close. A worker does the work, see `exsa_lab.engine.worker`."""

from __future__ import annotations

import atexit
import itertools
import os
import time
import weakref
from collections import deque
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import fields, replace
from functools import partial
from typing import Any, Self, TypeVar

from exsa_lab.checks import patience
from exsa_lab.config import EngineConfig, SamplingParams, as_list
from exsa_lab.costs.model import CostModel
from exsa_lab.engine.generation import EngineAccess, Generation
from exsa_lab.engine.loop import Loop
from exsa_lab.engine.stats import EngineStatus, StepRecord
from exsa_lab.engine.worker import EngineState, Worker
from exsa_lab.engine.worker.notifier import Notifier
from exsa_lab.engine.worker.registry import Registry
from exsa_lab.engine.worker.thread import EngineThread, OpenModels
from exsa_lab.errors import ExsaError
from exsa_lab.events import Event, RoundEvent, TokenEvent
from exsa_lab.forms import model_of
from exsa_lab.prompts.encode import Continuation
from exsa_lab.prompts.messages import Message, own_prompt
from exsa_lab.prompts.token_prompt import is_tokens, token_prompt
from exsa_lab.prompts.tool_format import needed_format
from exsa_lab.running_cell import running_cell
from exsa_lab.runtime.protocol import Model
from exsa_lab.signals import held_interrupts
from exsa_lab.speculation.history import MAX_TEXTS
from exsa_lab.structure.tools import form_of
from exsa_lab.trace.branching import check_position, chosen_token, kept_events
from exsa_lab.trace.positions import Positions
from exsa_lab.trace.trace import Trace

T = TypeVar("T")
Prompt = str | list[Message] | list[int]
__all__ = ["Engine", "EngineState"]


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
        open_models: OpenModels,
        config: EngineConfig,
        *,
        progress: Callable[[float], None] | None = None,
    ) -> None:
        self._begin(config, EngineThread(open_models, config, progress))

    @classmethod
    def on(cls, worker: Worker, config: EngineConfig) -> Self:
        """Return an engine on a worker that is open."""
        engine = cls.__new__(cls)
        engine._begin(config, worker)
        return engine

    def _begin(self, config: EngineConfig, worker: Worker) -> None:
        self.config = config
        self._worker = worker
        self._ids = itertools.count(1)
        self._registry: Registry[Generation] = Registry()
        self._cells: dict[int, int] = {}  # cell by generation id, of the newest `MAX_TEXTS`; only cells write here
        self._notifier = Notifier()
        self._on_each_end: list[Callable[[Generation], object]] = []
        self._access = EngineAccess(
            self,
            config,
            self.model_names,
            cancel=worker.cancel,
            is_alive=lambda: worker.state is EngineState.OPEN,
            ended=self._ended,
            more=self._more,
            branch=self._branch,
            notify=self._notifier.put,
            watched=worker.watched,
            positions=worker.positions,
            with_cells=self._with_cells,
        )
        _open_engines.add(self)

    def _with_cells(self, events: list[Event]) -> list[Event]:
        if not any(isinstance(event, RoundEvent) and event.looked_up_in for event in events):
            return events
        return [
            replace(event, looked_up_cell=self._cells.get(event.looked_up_in))
            if isinstance(event, RoundEvent) and event.looked_up_in
            else event
            for event in events
        ]

    def _ended(self, generation: Generation) -> None:
        self._registry.remove(generation.id)
        for callback in self._on_each_end:
            self._notifier.put(partial(callback, generation))

    def on_each_end(self, callback: Callable[[Generation], object]) -> None:
        """Call ``callback(generation)`` with each generation that is over from now on, away from the engine thread."""
        self._on_each_end.append(callback)

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
        """Whether it is open; asked of its thread and process, so that an engine that died is not taken for one."""
        return self._worker.state

    @property
    def restarts(self) -> bool:
        """Whether it begins anew with the next submission after it failed: an isolated one does."""
        return self._worker.restarts

    @property
    def target(self) -> Model:
        return self._worker.target

    @property
    def draft(self) -> Model | None:
        return self._worker.draft

    @property
    def model_names(self) -> dict[str, str | None]:
        return {"target": self.target.name, "draft": self.draft.name if self.draft else None}

    @property
    def notes(self) -> tuple[str, ...]:
        """What loading had to say, such as why drafting is off, and defects since."""
        return self._worker.notes

    @property
    def generations(self) -> list[Generation]:
        """All generations that are not over and the newest of the others, newest last."""
        return self._registry.recent

    @property
    def active(self) -> list[Generation]:
        """All generations that wait or run, however many, newest last."""
        return self._registry.live

    @property
    def steps(self) -> list[StepRecord]:
        """The most recent steps, newest last."""
        return list(self._worker.steps)

    @property
    def started(self) -> float:
        """`time.perf_counter` at which step times begin."""
        return self._worker.started

    @property
    def costs(self) -> CostModel | None:
        """What a step costs here, as measured at load and corrected since; None where nothing was measured.

        A copy: the engine goes on correcting its own.

        Example: ``engine.costs.step_seconds(4) / engine.costs.step_seconds(1)``.
        """
        return self._worker.costs()

    def positions(self, trace: Trace) -> Positions:
        """Return the logits of target and draft before each token of a recorded text; see `Generation.positions`.

        Raises ConfigError for a trace without its prompt's tokens, one of another target, or one of more than
        `exsa_lab.trace.MAX_POSITIONS` tokens; OutOfMemory where there is no room.
        """
        return self._worker.positions(trace)

    def status(self) -> EngineStatus:
        """Return what is going on right now."""
        return self._worker.status()

    # Requests

    def submit(self, prompt: Prompt, *, origin: str = "", **params: Any) -> Generation:
        """Queue a prompt and return its handle at once; safe from any thread.

        ``prompt`` is a text or a list of messages; with ``chat=False`` a text, or a list of tokens by number, which
        are taken as they are. What was given is checked and copied: changing it later changes nothing. Raises
        ConfigError for a bad prompt or parameter, QueueFull when too many wait, EngineClosed after `close`,
        EngineFailed where it ended by itself. What can only be seen by the model (a prompt too long, say) fails the
        generation instead. ``origin`` says in tables where it came from.
        """
        generation = self._made(prompt, params)
        generation.origin = origin
        return self._submitted(generation)

    def _made(self, prompt: Prompt, params: dict[str, Any]) -> Generation:
        """Return the handle of a prompt that was not handed over yet."""
        checked = SamplingParams.from_kwargs(**params)
        continues = None
        if is_tokens(prompt):
            prompt, continues = token_prompt(prompt, self.target, chat=checked.chat)
        generation = Generation(self._access, next(self._ids), own_prompt(prompt, chat=checked.chat), checked)
        generation.continues = continues
        generation.result_model = model_of(params.get("response_format"))
        return generation

    def _more(self, before: Generation, params: dict[str, Any]) -> Generation:
        """See `Generation.more`. Its random numbers are others than those already used."""
        seed = None if before.params.seed is None else (before.params.seed + len(before.tokens)) % 2**64
        generation = self._after(before, {"seed": seed, **params})
        thinking = replace(before.thinking, is_open=before.is_thinking) if before.thinking else None
        num_formed = 0
        if _is_of_one_form(generation, before):
            num_formed = _num_formed_before(before) + len(before.tokens)
            generation.formed = before.formed + before.text
        written = [*before.prompt_ids, *before.tokens]
        generation.continues = Continuation(written, len(before.tokens), thinking, num_formed)
        return self._submitted(generation)

    def _branch(self, before: Generation, position: int, token: int | str | None, params: dict[str, Any]) -> Generation:
        """See `Generation.branch`."""
        events = [event for event in list(before.events) if isinstance(event, TokenEvent)]
        position = check_position(position, len(events))
        found = None if token is None else chosen_token(token, self.target)
        is_drawn = token is None and before.params.temperature > 0
        generation = self._after(before, {"seed": None if is_drawn else before.seed, **params})
        num_formed = 0
        if _is_of_one_form(generation, before):
            num_formed, generation.formed = _num_formed_before(before), before.formed
        kept = kept_events(events, position, found)
        generation.continues = Continuation(
            [*before.prompt_ids, *(event.token_id for event in kept)],
            before.continues.num_written if before.continues else 0,
            before.thinking,
            num_formed + len(kept),
            kept,
            events[position].token_id if found is None else None,
        )
        return self._submitted(generation)

    def _after(self, before: Generation, params: dict[str, Any]) -> Generation:
        """Return a generation of the same prompt and parameters, but for these; its model of results included."""
        own = {field.name: getattr(before.params, field.name) for field in fields(before.params)}
        own["prompt_logprobs"] = 0  # else all that was written would be read anew
        checked = SamplingParams.from_kwargs(**{**own, **params})
        generation = Generation(self._access, next(self._ids), before.prompt, checked)
        is_new = "response_format" in params
        generation.result_model = model_of(params["response_format"]) if is_new else before.result_model
        return generation

    def _submitted(self, generation: Generation) -> Generation:
        generation.tool_format = needed_format(generation.params, self.target)
        self._note_cell(generation)
        self._registry.add(generation.id, generation, most=self.config.max_waiting + self.config.n_seq_max)
        try:
            self._worker.submit(generation)
        except BaseException as error:
            self._registry.forget(generation.id)
            if not isinstance(error, ExsaError):  # an interrupt may have come when it was handed over already
                generation.cancel("interrupted")
            raise
        return generation

    def _note_cell(self, generation: Generation) -> None:
        cell = None if generation.origin else running_cell()
        if cell is None:
            return
        self._cells[generation.id] = generation.cell = cell
        if len(self._cells) > MAX_TEXTS:
            del self._cells[next(iter(self._cells))]

    def generate(self, prompt: Prompt, **params: Any) -> Generation:
        """Submit and wait. An interrupt cancels it and is raised on; the partial text stays on the handle.

        The handle is also the last of `generations`. Raises what `Generation.result` raises.
        """
        generation = self._made(prompt, params)  # before it is handed over, so that no interrupt can lose it
        try:
            self._submitted(generation)
            generation.result()
        except KeyboardInterrupt:
            with suppress(KeyboardInterrupt), held_interrupts():  # pressed twice
                generation.cancel("interrupted")
                generation.wait(timeout=5)
            raise
        return generation

    def map(self, prompts: Iterable[Prompt], *, progress: bool = True, **params: Any) -> list[Generation]:
        """Generate for many prompts at once; returns their handles in the order of the prompts.

        Nothing is raised for a prompt that fails: look at ``.error``. An interrupt cancels all of them and is raised
        on. ``progress`` shows a bar.
        """
        from tqdm.auto import tqdm

        todo, params = as_list("prompts", prompts), SamplingParams.own(**params)
        in_flight: deque[Generation] = deque()
        generations: list[Generation] = []
        with tqdm(total=len(todo), unit="prompt", disable=not progress) as bar:
            try:
                for prompt in todo:
                    if len(in_flight) >= 2 * self.config.n_seq_max:
                        in_flight.popleft().wait()
                        bar.update()
                    generations.append(self._made(prompt, params))
                    self._submitted(generations[-1])
                    in_flight.append(generations[-1])
                for generation in in_flight:
                    generation.wait()
                    bar.update()
            except BaseException:
                with held_interrupts():
                    for generation in generations:
                        generation.cancel("interrupted")
                raise
        return generations

    def cancel(self, generation: Generation) -> None:
        """Ask for a generation to be stopped; see `Generation.cancel`."""
        if not generation.state.is_final:
            self._worker.cancel(generation)

    def drain(self, timeout: float | None = None) -> bool:
        """Wait until nothing waits or runs; False when ``timeout`` seconds passed before that."""
        deadline = None if (seconds := patience(timeout)) is None else time.monotonic() + seconds
        for generation in self.active:
            left = None if deadline is None else max(0.0, deadline - time.monotonic())
            if not generation.wait(left):
                return False
        return True

    def call(self, function: Callable[[Loop], T]) -> T:
        """Run ``function(loop)`` on the engine thread between two steps and return its result.

        An engine in a process of its own takes only functions of modules, and results that JSON knows; EngineError
        otherwise.
        """
        return self._worker.call(function)

    def forget_texts(self) -> None:
        """Drop what the engine keeps of texts that are over: for lookup, and the cached beginnings of prompts.

        Generations that somebody holds keep their own text; so do `generations`, traces, and what `xl.history()` lists.
        """
        self._worker.call(_forget_texts)

    def close(self) -> None:
        """Cancel what runs, free the models and their memory. Calling it again does nothing."""
        self._worker.close()
        self._notifier.close()
        _open_engines.discard(self)


def _is_of_one_form(generation: Generation, before: Generation) -> bool:
    """Whether one that goes on with another is to have its form."""
    form, form_before = (form_of(each.params, before.tool_format) for each in (generation, before))
    return form == form_before


def _num_formed_before(generation: Generation) -> int:
    return generation.continues.num_formed_before if generation.continues else 0


def _forget_texts(loop: Loop) -> None:
    loop.forget_texts()


# Engines that are not closed. An interpreter takes its memory away while daemon threads still compute in C.
_open_engines: weakref.WeakSet[Engine] = weakref.WeakSet()
_pid = os.getpid()


@atexit.register
def _close_all() -> None:
    if os.getpid() == _pid:
        for engine in list(_open_engines):
            with suppress(BaseException):
                engine.close()
