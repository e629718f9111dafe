"""An engine in a process of its own, see `exsa_lab.engine.worker.isolated`: commands by stdin, news by stdout.

python -m exsa_lab.engine.worker.child
"""

from __future__ import annotations

import contextlib
import json
import os
import pickle
import queue
import sys
import threading
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from itertools import takewhile
from typing import Any, BinaryIO

from exsa_lab.config import EngineConfig, SamplingParams
from exsa_lab.costs.cache import costs_to_json
from exsa_lab.engine.generation import EngineAccess, Generation
from exsa_lab.engine.stats import StepRecord
from exsa_lab.engine.worker import EngineState, wire
from exsa_lab.engine.worker.remote_model import not_here
from exsa_lab.engine.worker.thread import EngineThread
from exsa_lab.errors import ConfigError, EngineError, ExsaError
from exsa_lab.events import Event
from exsa_lab.prompts.encode import Continuation
from exsa_lab.prompts.tool_format import needed_format
from exsa_lab.runtime.protocol import Model

PERIOD_S = 0.04
"""Events within so long are sent together, but for a first token and an end: a message takes time from the decoding."""
BEAT_S = 1.0
"""Longest silence, as long as this process can run Python at all."""
MODEL_CALLS = ("tokenize", "token_bytes", "token_label", "is_end")


class ToldGeneration(Generation):
    """A generation whose handle lives in the parent."""

    def __init__(self, *args: Any, outbox: Outbox) -> None:
        super().__init__(*args)
        self.has_listeners = False
        self.num_events_sent = self.num_tokens_sent = 0
        self._outbox = outbox

    @property
    def is_watched(self) -> bool:
        return self.has_listeners

    def publish(self, events: list[Event]) -> None:
        super().publish(events)
        self._outbox.mark(self)


@dataclass(slots=True)
class Outbox:
    """Sends what happened, in batches, on a thread of its own."""

    file: BinaryIO
    worker: EngineThread | None = None
    last_step_sent: StepRecord | None = None
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _dirty: dict[int, ToldGeneration] = field(default_factory=dict)
    _sending: threading.Lock = field(default_factory=threading.Lock)
    _flushing: threading.Lock = field(default_factory=threading.Lock)
    _has_news: threading.Event = field(default_factory=threading.Event)
    _is_urgent: threading.Event = field(default_factory=threading.Event)

    def start(self) -> None:
        threading.Thread(target=self._run, name="exsa-outbox", daemon=True).start()

    def mark(self, generation: ToldGeneration) -> None:
        with self._lock:
            self._dirty[generation.id] = generation
        # Somebody may wait for its end, or look out for its first token.
        if generation.state.is_final or (generation.tokens and not generation.num_tokens_sent):
            self._is_urgent.set()
        self._has_news.set()

    def send(self, message: dict[str, Any], *raw: bytes) -> None:
        """Send at once, with what else follows it as bytes."""
        with self._sending:
            wire.write_frame(self.file, wire.to_bytes(message))
            for part in raw:
                wire.write_frame(self.file, part)

    def flush(self) -> None:
        """Send all there is."""
        with self._flushing:
            with self._lock:
                dirty, self._dirty = self._dirty, {}
            message: dict[str, Any] = {"type": "news", "generations": [_news(item) for item in dirty.values()]}
            if self.worker is not None:
                message |= self._state_of(self.worker)
            self.send(message)

    def _run(self) -> None:
        while True:
            self._has_news.wait(BEAT_S)
            self._has_news.clear()
            self._is_urgent.clear()
            self.flush()
            self._is_urgent.wait(PERIOD_S)

    def _state_of(self, worker: EngineThread) -> dict[str, Any]:
        return {
            "status": wire.encode_status(worker.status()),
            "steps": wire.encode_steps(self._new_steps(worker)),
            "notes": list(worker.notes),
        }

    def _new_steps(self, worker: EngineThread) -> list[StepRecord]:
        steps = list(worker.steps)  # a copy at one moment: it goes on growing
        new = list(takewhile(lambda step: step is not self.last_step_sent, reversed(steps)))[::-1]
        self.last_step_sent = steps[-1] if steps else None
        return new


def _news(generation: ToldGeneration) -> dict[str, Any]:
    """What its handle does not know yet. Events come first: once the last one is there, so is all the rest."""
    events = generation.events[generation.num_events_sent :]
    tokens = generation.tokens[generation.num_tokens_sent :]
    news = {
        "id": generation.id,
        "events": wire.encode_events(events),
        "tokens": tokens,
        "stats": wire.encode_stats(generation.stats),
    }
    if not generation.num_events_sent:
        news |= {"prompt_ids": generation.prompt_ids, "end_ids": generation.end_ids, "seed": generation.seed}
        news |= {"notes": list(generation.notes), "thinking": wire.encode_thinking(generation.thinking)}
    if generation.finish_reason is not None:
        news |= {"finish_reason": generation.finish_reason, "cancel_reason": generation.cancel_reason}
        news["is_cut"] = generation.is_cut
    if generation.error is not None:
        news["error"] = wire.encode_error(generation.error)
    generation.num_events_sent += len(events)
    generation.num_tokens_sent += len(tokens)
    return news


def _not_here(generation: Generation, *args: Any) -> Generation:
    raise EngineError("a generation is continued where its handle is.")


class Child:
    """Carries out the parent's commands."""

    def __init__(self, worker: EngineThread, config: EngineConfig, outbox: Outbox) -> None:
        self._worker = worker
        self._outbox = outbox
        self._generations: dict[int, ToldGeneration] = {}
        names = {"target": worker.target.name, "draft": worker.draft.name if worker.draft else None}
        self._access = EngineAccess(
            self,  # type: ignore[arg-type]  # nobody here asks a generation for its engine
            config,
            names,
            cancel=worker.cancel,
            is_alive=lambda: True,
            ended=self._forget,
            notify=lambda callback: None,
            watched=lambda generation: None,
            more=_not_here,
            branch=_not_here,
            positions=worker.positions,
            with_cells=lambda events: events,  # the parent knows the cells
        )

    def submit(
        self,
        id: int,
        prompt: Any,
        params: SamplingParams,
        submitted: float,
        is_watched: bool,
        continues: Continuation | None,
    ) -> None:
        generation = ToldGeneration(self._access, id, prompt, params, outbox=self._outbox)
        generation.continues = continues
        generation.submitted, generation.has_listeners = submitted, is_watched
        self._generations[id] = generation
        try:
            generation.tool_format = needed_format(params, self._worker.target)
            self._worker.submit(generation)
        except ExsaError as error:
            generation.fail(error)

    def _forget(self, generation: Generation) -> None:
        self._generations.pop(generation.id, None)

    def cancel(self, id: int, reason: str) -> None:
        if (generation := self._generations.get(id)) is not None:
            generation.cancel(reason)

    def watch(self, id: int) -> None:
        if (generation := self._generations.get(id)) is not None:
            generation.has_listeners = True

    def call(self, number: int, name: str, *args: Any) -> None:
        threading.Thread(target=self._answer, args=(number, name, *args), daemon=True).start()

    def _answer(self, number: int, name: str, *args: Any) -> None:
        try:
            value, raw = self._value(name, *args)
            self._outbox.send({"type": "answer", "number": number, "value": value, "parts": len(raw)}, *raw)
        except BaseException as error:
            self._outbox.send({"type": "answer", "number": number, "error": wire.encode_error(error)})

    def _value(self, name: str, *args: Any) -> tuple[Any, list[bytes]]:
        if name == "function":
            return self._worker.call(_function(*args)), []
        if name == "costs":
            costs = self._worker.costs()
            return (None if costs is None else costs_to_json(costs)), []
        if name == "positions":
            places = self._worker.positions(*args)
            arrays = [places.target] + ([places.draft] if places.draft is not None else [])
            return [list(array.shape) for array in arrays], [array.tobytes() for array in arrays]
        which, _, method = name.partition(".")
        model = self._worker.target if which == "target" else self._worker.draft
        if method not in MODEL_CALLS:
            raise ConfigError(f"a model has no {method!r} to be called from outside.")
        keywords = args[-1] if args and isinstance(args[-1], dict) else {}
        value = getattr(model, method)(*(args[:-1] if keywords else args), **keywords)
        return (value.hex() if isinstance(value, bytes) else value), []


def _function(named: bytes) -> Callable[[Any], Any]:
    """One of the notebook's own has a name here that means nothing."""
    try:
        function: Callable[[Any], Any] = pickle.loads(named)
    except Exception:
        not_here("the loop")
    return function


def _describe(model: Model | None) -> dict[str, Any] | None:
    if model is None:
        return None
    path = getattr(model, "path", None)
    return {
        "name": model.name,
        "path": None if path is None else str(path),
        "vocab_size": model.vocab_size,
        "n_ctx_train": model.n_ctx_train,
        "chat_template": model.chat_template,
        "token_rules": asdict(model.token_rules),
        "is_recurrent": model.is_recurrent,
    }


def _read_commands(file: BinaryIO, commands: queue.SimpleQueue[Any]) -> None:
    """Until the parent closes its end, by its end or its wish: then this process has nothing to live for."""
    try:
        while True:
            commands.put(pickle.loads(wire.read_frame(file)))
    except EOFError:
        os._exit(0)
    except BaseException as fault:  # else everybody would wait for a process that hears nothing any more
        print(f"{type(fault).__name__}: {fault}", file=sys.stderr, flush=True)
        os._exit(1)


def _limit_memory(most: int) -> None:
    """Let allocations fail before the machine has no memory left, and let this process be the first to go then."""
    with contextlib.suppress(ImportError, OSError, ValueError):
        import resource

        resource.setrlimit(resource.RLIMIT_DATA, (most, most))
    with contextlib.suppress(OSError), open("/proc/self/oom_score_adj", "w") as file:
        file.write("800")


def main() -> int:
    """Open the models the parent names, and serve it."""
    outbox = Outbox(os.fdopen(os.dup(1), "wb"))
    os.dup2(2, 1)  # what C code prints is no message
    start = json.loads(wire.read_frame(sys.stdin.buffer))
    sys.path[:] = start["path"]
    _limit_memory(start["memory"])
    commands: queue.SimpleQueue[Any] = queue.SimpleQueue()
    threading.Thread(target=_read_commands, args=(sys.stdin.buffer, commands), daemon=True).start()
    outbox.start()
    try:
        open_models, config = commands.get()
        worker = EngineThread(open_models, config, lambda done: outbox.send({"type": "progress", "done": done}))
        child = Child(worker, config, outbox)
    except BaseException as error:
        outbox.send({"type": "failed", "error": wire.encode_error(error)})
        return 1
    return serve(worker, child, outbox, commands)


def serve(worker: EngineThread, child: Child, outbox: Outbox, commands: queue.SimpleQueue[Any]) -> int:
    """Say that the engine is open, and do what comes until it is closed or has failed."""
    outbox.worker = worker
    models = {"target": _describe(worker.target), "draft": _describe(worker.draft)}
    outbox.send({"type": "open", "models": models, "notes": list(worker.notes), "started": worker.started})
    handlers: dict[str, Callable[..., None]] = {
        "submit": child.submit,
        "cancel": child.cancel,
        "watch": child.watch,
        "call": child.call,
    }
    while worker.state is EngineState.OPEN:
        with contextlib.suppress(queue.Empty):
            name, *args = commands.get(timeout=BEAT_S)
            if name == "close":
                worker.close()
                break
            handlers[name](*args)
    outbox.flush()
    return int(worker.state is EngineState.FAILED)


if __name__ == "__main__":
    code = 1
    try:
        code = main()
    except BaseException as fault:
        print(f"{type(fault).__name__}: {fault}", file=sys.stderr, flush=True)
    os._exit(code)  # nothing is left to do, and daemon threads may still be in C code
