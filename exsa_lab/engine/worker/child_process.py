"""One child process with an engine in it, seen from its parent: started, watched, told, listened to, and buried.

What it runs is `exsa_lab.engine.worker.child`; how both speak is `exsa_lab.engine.worker.wire`.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import pickle
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, BinaryIO

from exsa_lab.config import EngineConfig
from exsa_lab.engine.generation import Generation
from exsa_lab.engine.reporting import MAX_STEP_RECORDS
from exsa_lab.engine.stats import EngineStatus, StepRecord
from exsa_lab.engine.worker import wire
from exsa_lab.engine.worker.remote_model import RemoteModel
from exsa_lab.engine.worker.thread import CLOSED, OpenModels
from exsa_lab.errors import LOAD_AGAIN, ConfigError, EngineFailed, ExsaError, printable
from exsa_lab.events import State, StateEvent
from exsa_lab.hardware import memory
from exsa_lab.signals import held_interrupts

SILENT_S = 30.0
"""A child that says nothing for so long is ended: something holds its interpreter."""
START_S = 120.0
"""Longest silence before its first word, while Python and llama.cpp are read from the disk."""
STUCK_S = 600.0
"""So is one that has work and finishes no step: far longer than the largest prompt takes on a slow machine."""
_LOOK_S = 0.5
CLOSE_S = 10.0
MEMORY_SHARE = 0.9
"""Of the machine's memory, or the container's, what a child may allocate."""

# What a child needs of this process's environment. Whatever else is there, tokens and keys among it, stays here.
_ENVIRONMENT = ("PATH", "HOME", "USERPROFILE", "LANG", "TZ", "TMPDIR", "TEMP", "TMP", "SYSTEMROOT", "LOCALAPPDATA")
_PREFIXES = ("LC_", "XDG_CACHE", "LD_LIBRARY", "DYLD_LIBRARY", "CUDA_", "NVIDIA_", "HIP_", "ROCR_", "GGML_", "LLAMA_",
             "OMP_", "GOMP_", "KMP_", "MKL_")  # fmt: skip


def child_environment(environment: dict[str, str]) -> dict[str, str]:
    """Return what of an environment a child gets."""
    kept = {name: value for name, value in environment.items() if name in _ENVIRONMENT or name.startswith(_PREFIXES)}
    return {**kept, "GGML_NO_BACKTRACE": "1"}


class ChildProcess:
    """One child, from its start to its end; what it tells goes to the generations it was given.

    ``ask`` answers what its models are asked, as `call` does, also once this child is gone and there is another one.
    """

    def __init__(
        self,
        open_models: OpenModels,
        config: EngineConfig,
        progress: Callable[[float], None] | None,
        ask: Callable[..., Any],
    ) -> None:
        self._ask = ask
        self.is_over = False
        self.failure: ExsaError | None = None
        self.target: RemoteModel
        self.draft: RemoteModel | None = None
        self.notes: tuple[str, ...] = ()
        self.started = time.perf_counter()
        self.status = EngineStatus("open")
        self.steps: deque[StepRecord] = deque(maxlen=MAX_STEP_RECORDS)
        self._is_closing = False
        self._live: dict[int, Generation] = {}
        self._answers: dict[int, Future[tuple[Any, list[bytes]]]] = {}
        self._numbers = itertools.count()
        self._lock = threading.Lock()  # guards _live and _answers, to which nothing is added once it is over
        self._sending = threading.Lock()
        self._heard = self._progressed = time.monotonic()
        self._has_spoken = False
        self._done = 0.0
        self._opened: Future[None] = Future()
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115  # closed with the process
        self._process = _start(self._errors)
        self._reader = threading.Thread(target=self._read, name="exsa-engine", daemon=True)
        try:
            self._reader.start()
            threading.Thread(target=self._watch, name="exsa-watchdog", daemon=True).start()
            self._send_start(open_models, config)
            self._wait_until_open(progress or (lambda _: None))
        except BaseException:
            with held_interrupts():
                self._process.kill()
                self._reader.join(CLOSE_S)
            raise

    def _send_start(self, open_models: OpenModels, config: EngineConfig) -> None:
        most = int(MEMORY_SHARE * memory()[0])
        try:
            first = pickle.dumps((open_models, config))
        except (pickle.PicklingError, AttributeError, TypeError) as cause:
            raise ConfigError("this engine cannot be opened in another process.", hint="Load it by name.") from cause
        with contextlib.suppress(OSError), self._sending:  # it is dead already: the reader says so
            wire.write_frame(self._stdin, wire.to_bytes({"path": sys.path, "memory": most}))
            wire.write_frame(self._stdin, first)

    def _wait_until_open(self, progress: Callable[[float], None]) -> None:
        told = 0.0
        while True:
            with contextlib.suppress(TimeoutError):
                self._opened.result(timeout=0.05)
                if told < self._done:
                    progress(self._done)
                return
            if told < self._done:
                progress(told := self._done)

    @property
    def pid(self) -> int:
        return self._process.pid

    # To the child

    def submit(self, generation: Generation) -> None:
        what = (generation.prompt, generation.params, generation.submitted, generation.is_watched, generation.continues)
        with held_interrupts():  # it is noted and sent, or neither
            with self._lock:
                if self.is_over:
                    raise self.failure or EngineFailed("the engine's process has ended.", hint=LOAD_AGAIN)
                if not self._live:
                    self._progressed = time.monotonic()
                self._live[generation.id] = generation
            self.send("submit", generation.id, *what)

    def cancel(self, generation: Generation) -> bool:
        """Have it cancelled; False where it was never given to this child."""
        with self._lock:
            is_here = generation.id in self._live
        if is_here:
            self.send("cancel", generation.id, generation.cancel_reason)
        return is_here

    def call(self, name: str, *args: Any) -> tuple[Any, list[bytes]]:
        answer: Future[tuple[Any, list[bytes]]] = Future()
        number = next(self._numbers)
        with self._lock:
            if self.is_over:
                raise self.failure or EngineFailed("the engine's process has ended.", hint=LOAD_AGAIN)
            self._answers[number] = answer
        self.send("call", number, name, *args)
        return answer.result()

    def send(self, *command: Any) -> None:
        """What cannot be sent any more has an end all the same: the reader sees that the child is gone."""
        data = pickle.dumps(command)
        # Half a frame would end the child; one that does not read any more is ended by the watchdog.
        with contextlib.suppress(OSError, ValueError), held_interrupts(), self._sending:
            wire.write_frame(self._stdin, data)

    def close(self) -> None:
        self._is_closing = True
        self.send("close")
        self._reader.join(CLOSE_S)
        if self._reader.is_alive():
            self._process.kill()
            self._reader.join(CLOSE_S)

    @property
    def _stdin(self) -> BinaryIO:
        assert self._process.stdin is not None
        return self._process.stdin  # type: ignore[return-value]

    # From the child, on the reader's thread

    def _read(self) -> None:
        assert self._process.stdout is not None
        reason = ""
        try:
            while True:
                message = json.loads(wire.read_frame(self._process.stdout))  # type: ignore[arg-type]
                self._heard, self._has_spoken = time.monotonic(), True
                self._take(message)
        except EOFError:
            pass
        except BaseException as error:  # it does not keep to the rules, whatever made it so
            reason = f"the engine's process said what it should not ({type(error).__name__}: {error})"
        self._end(reason)

    def _take(self, message: Any) -> None:
        match message["type"]:
            case "news":
                if "status" in message:  # before the ends: who waits for one finds its steps
                    self._take_state(message)
                for news in message["generations"]:
                    self._take_news(news)
            case "progress":
                self._done = max(0.0, min(1.0, float(message["done"])))
            case "answer":
                self._take_answer(message)
            case "open":
                models = message["models"]
                self.target = RemoteModel(self._asking("target"), models["target"])
                self.draft = RemoteModel(self._asking("draft"), models["draft"]) if models["draft"] else None
                self.notes = _notes(message)
                self.started = float(message["started"])
                self._opened.set_result(None)
            case "failed":
                self._opened.set_exception(wire.decode_error(message["error"]))

    def _asking(self, which: str) -> Callable[..., Any]:
        return lambda name, *args: self._ask(f"{which}.{name}", *args)[0]

    def _take_state(self, message: Any) -> None:
        status, steps = wire.decode_status(message["status"]), wire.decode_steps(message["steps"])
        if steps or not self._live:
            self._progressed = time.monotonic()
        self.status, self.notes = status, _notes(message)
        self.steps.extend(steps)

    def _take_news(self, news: Any) -> None:
        generation = self._live.get(news["id"])
        if generation is None:
            return
        events = wire.decode_events(news["events"])
        wire.decode_stats(news["stats"], generation.stats)
        if "prompt_ids" in news:
            generation.prompt_ids, generation.end_ids = map(wire.decode_tokens, (news["prompt_ids"], news["end_ids"]))
            generation.thinking = wire.decode_thinking(news["thinking"])
            generation.notes = list(_notes(news))
            generation.seed = news["seed"] if type(news["seed"]) is int else None
        generation.tokens += wire.decode_tokens(news["tokens"])
        last = events[-1] if events else None
        if isinstance(last, StateEvent) and last.state.is_final:
            generation.finish_reason = printable(str(news.get("finish_reason")))
            generation.is_cut = news.get("is_cut") is True
            generation.cancel_reason = generation.cancel_reason or printable(str(news.get("cancel_reason", "")))
            if last.state is State.FAILED:
                generation.error = wire.decode_error(news.get("error"))
        generation.publish(events)
        if generation.state.is_final:
            with self._lock:
                self._live.pop(generation.id, None)

    def _take_answer(self, message: Any) -> None:
        assert self._process.stdout is not None
        parts = [wire.read_frame(self._process.stdout) for _ in range(min(4, int(message.get("parts", 0))))]  # type: ignore[arg-type]
        with self._lock:
            answer = self._answers.pop(message["number"], None)
        if answer is not None and "error" in message:
            answer.set_exception(wire.decode_error(message["error"]))
        elif answer is not None:
            answer.set_result((message["value"], parts))

    def _end(self, reason: str) -> None:
        """It is gone: whoever waits for it is told."""
        self._process.kill()
        code = self._process.wait()
        when, hint = ("", _TRY_AGAIN) if self._opened.done() else (" while it opened the model", _OTHER_FILE)
        failure = EngineFailed(f"{reason or _why(code, when)}.", hint=_last_words(self._errors) or hint)
        with self._lock:
            self.is_over, self.failure = True, failure
            live, self._live = list(self._live.values()), {}
            answers, self._answers = list(self._answers.values()), {}
        if not self._opened.done():
            self._opened.set_exception(failure)
        for answer in answers:
            answer.set_exception(failure)
        for generation in live:
            if self._is_closing:
                generation.end_cancelled(CLOSED)
            else:
                generation.fail(failure)
        for file in (self._process.stdin, self._process.stdout, self._errors):
            with contextlib.suppress(OSError, ValueError, AttributeError):
                file.close()  # type: ignore[union-attr]

    def _watch(self) -> None:
        """End it when it stops answering. What it had is then told by the reader."""
        now = time.monotonic()
        while self._reader.is_alive():
            before = now
            self._reader.join(_LOOK_S)
            now, patience = time.monotonic(), SILENT_S if self._has_spoken else START_S
            if now - before > 4 * _LOOK_S:  # it is this process that slept, or could not run Python
                self._heard = self._progressed = now
            if now - self._heard > patience or (self._live and now - self._progressed > STUCK_S):
                self._process.kill()
                return


def _notes(message: Any) -> tuple[str, ...]:
    return tuple(printable(str(note)) for note in message["notes"])


_OTHER_FILE = "The file may be damaged, too large for this machine, or one that this llama.cpp cannot run."
_TRY_AGAIN = "What was generated so far is kept; the next prompt starts another process."


def _start(errors: Any) -> subprocess.Popen[bytes]:
    # A session of its own: the terminal's Ctrl-C must reach only this process, which then decides.
    return subprocess.Popen(
        [sys.executable, "-m", "exsa_lab.engine.worker.child"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=errors,
        env={**child_environment(dict(os.environ)), "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        start_new_session=True,
    )


def _why(code: int, when: str) -> str:
    if code >= 0:
        return f"the engine's process ended with status {code}{when}"
    try:
        name = signal.Signals(-code).name
    except ValueError:
        name = f"signal {-code}"
    hint = {"SIGKILL": ", by the system for want of memory or by the watchdog", "SIGBUS": ", its file was cut off"}
    return f"the engine's process ended by {name}{when}{hint.get(name, '')}"


def _last_words(errors: Any) -> str:
    """The last line the child wrote to stderr, such as an assertion of llama.cpp's."""
    with contextlib.suppress(OSError, ValueError):
        size = errors.seek(0, 2)
        errors.seek(max(0, size - 4096))
        lines = errors.read().decode("utf-8", "replace").strip().splitlines()
        return f"It said: {printable(lines[-1])[:200]}" if lines else ""
    return ""
