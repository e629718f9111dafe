"""Interrupts and cancellation at every moment: nothing hangs, nothing is left, and who waits is told."""

from __future__ import annotations

import asyncio
import itertools
import linecache
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Coroutine
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

import exsa_lab
from exsa_lab.engine.engine import Engine, EngineState
from exsa_lab.experiments import Setting, run_experiment
from exsa_lab.manager import BatchManager
from exsa_lab.signals import held_interrupts
from exsa_lab.testing import ScriptedModel, markov, scripted_engine

LETTERS = [chr(ord("a") + i) for i in range(12)]
PACKAGE = str(Path(exsa_lab.__file__).parent)

LOADING = """
import os, signal, sys, threading, time
import exsa_lab as xl
from exsa_lab import loading
from exsa_lab.runtime.library import llama

llama()
after, count = float(sys.argv[1]), int(sys.argv[2])
over = threading.Event()

def press():
    time.sleep(after)
    for _ in range(count):
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(0.02)
    over.set()

threading.Thread(target=press).start()
try:
    xl.load(n_seq_max=4, recalibrate=True)
except KeyboardInterrupt:
    pass
while not over.is_set():
    try:
        over.wait()
    except KeyboardInterrupt:
        pass
left = [thread.name for thread in threading.enumerate() if thread.name.startswith("exsa-engine")]
loaded = ["exsa-engine"] if loading._current else []
print(left == loaded, xl.load(n_seq_max=4).generate("hi", max_tokens=2).state)
"""


@pytest.mark.real
@pytest.mark.parametrize("presses", [1, 15])
@pytest.mark.parametrize("after", [0.05, 0.3, 0.7, 1.2, 2.0])
def test_an_interrupt_while_loading_never_hangs(after: float, presses: int) -> None:
    command = [sys.executable, "-c", LOADING, str(after), str(presses)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert (done.returncode, done.stdout.split()) == (0, ["True", "finished"]), done.stderr


EXIT = """
import sys, time
from exsa_lab.loading import load

engine = load(n_seq_max=4)
engine.submit("Tell me a long story.", max_tokens=400)
for number in range(60):
    engine.submit(f"Number {number}?", max_tokens=40)
time.sleep(float(sys.argv[1]))
sys.exit(1)
"""


@pytest.mark.real
@pytest.mark.parametrize("after", [0.0, 0.4, 1.5])
def test_a_process_that_ends_while_the_engine_decodes_ends_as_it_meant_to(after: float) -> None:
    done = subprocess.run([sys.executable, "-c", EXIT, str(after)], capture_output=True, timeout=120, check=False)
    assert done.returncode == 1, done.stderr


def test_held_interrupts_come_once_at_the_end() -> None:
    done = []

    def press_twice() -> None:
        with held_interrupts():
            for _ in range(2):
                signal.raise_signal(signal.SIGINT)
            done.append("all")
        done.append("never")

    with pytest.raises(KeyboardInterrupt):
        press_twice()
    assert done == ["all"]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def new_engine(*, step_s: float = 0.0) -> Engine:
    return scripted_engine(ScriptedModel(LETTERS, markov(12, 1), step_s=step_s), n_seq_max=2)


# Every awaited point


async def await_it(engine: Engine) -> None:
    await engine.submit("abc", max_tokens=30)


async def stream_it(engine: Engine) -> None:
    async for _ in engine.submit("abc", max_tokens=30).stream():
        pass


async def manage_it(engine: Engine) -> None:
    async with BatchManager(engine) as batch:
        await asyncio.gather(*(batch.generate(prompt, max_tokens=20) for prompt in ("abc", "bcd", "cde")))


async def manage_a_stream(engine: Engine) -> None:
    async with BatchManager(engine) as batch:
        async for _ in batch.stream("abc", max_tokens=20):
            pass
        await batch.drain()


class Interrupted(BaseException):
    """Something that is not an Exception."""


class Thrower:
    """Runs a coroutine, and throws ``error`` into it at its await number ``at``."""

    def __init__(self, coroutine: Coroutine[Any, Any, None], at: int, error: BaseException) -> None:
        self.coroutine, self.at, self.error, self.thrown = coroutine, at, error, False

    def __await__(self) -> Any:
        value: Any = None
        for number in itertools.count(1):
            try:
                waited = self.coroutine.send(value) if number != self.at else self._throw()
            except StopIteration:
                return
            value = yield waited

    def _throw(self) -> Any:
        self.thrown = True
        return self.coroutine.throw(self.error)


@pytest.mark.parametrize("work", [await_it, stream_it, manage_it, manage_a_stream])
@pytest.mark.parametrize("make_error", [asyncio.CancelledError, Interrupted, RuntimeError])
def test_an_error_at_every_awaited_point(
    work: Callable[[Engine], Coroutine[Any, Any, None]], make_error: Callable[[], BaseException]
) -> None:
    with new_engine() as engine:
        expected = engine.generate("abc", max_tokens=20).text
        for at in itertools.count(1):

            async def scenario(at: int = at) -> bool:
                thrower = Thrower(work(engine), at, make_error())
                try:
                    await thrower
                except type(thrower.error):
                    assert thrower.thrown
                return thrower.thrown

            try:
                was_thrown = asyncio.run(scenario())
            except Interrupted:
                was_thrown = True
            assert engine.drain(60), "something runs on that nobody waits for"
            assert engine.state is EngineState.OPEN
            assert engine.generate("abc", max_tokens=20).text == expected
            if not was_thrown or at > 60:
                break


def test_a_dropped_coroutine_cancels_what_it_waited_for() -> None:
    with new_engine(step_s=0.01) as engine:

        async def scenario() -> None:
            gen = engine.submit("abc", max_tokens=1000)

            async def wait() -> None:
                await gen

            coroutine = wait()
            coroutine.send(None)
            coroutine.close()
            assert await asyncio.to_thread(gen.wait, 20)
            assert gen.state == "cancelled"

        asyncio.run(scenario())


# Every line


def press_at(number: int, action: Callable[[], object]) -> tuple[bool, bool]:
    """Run ``action``, and press Ctrl-C before line ``number`` of exsa_lab's that this thread runs in it.

    Not where a ``with`` statement begins or ends: Python itself keeps interrupts away from there, or no lock were safe.
    Returns whether it came to that line, and whether the interrupt came out.
    """
    count, is_pressed, is_raised = itertools.count(1), False, False

    def look(frame: FrameType, event: str, _: Any) -> Any:
        nonlocal is_pressed
        if not frame.f_code.co_filename.startswith(PACKAGE):
            return None
        line = linecache.getline(frame.f_code.co_filename, frame.f_lineno) if event == "line" else ""
        if not is_pressed and line and not line.lstrip().startswith("with ") and next(count) == number:
            is_pressed = True
            signal.raise_signal(signal.SIGINT)
        return look

    sys.settrace(look)
    try:
        action()
    except KeyboardInterrupt:
        is_raised = True
    finally:
        sys.settrace(None)
    return is_pressed, is_raised


LINES: dict[str, Callable[[Engine], object]] = {
    "generate": lambda engine: engine.generate("abc", max_tokens=6),
    "map": lambda engine: engine.map(["abc", "bcd"], max_tokens=6, progress=False),
    "experiment": lambda engine: run_experiment(engine, ["abc"], Setting(max_tokens=3)),
}


@pytest.mark.parametrize("name", LINES)
def test_an_interrupt_before_every_line(name: str) -> None:
    """Nothing goes on running that nobody waits for, and the engine goes on."""
    with new_engine(step_s=0.001) as engine:
        expected = engine.generate("abc", max_tokens=20).text
        for number in itertools.count(1):
            is_pressed, is_raised = press_at(number, lambda: LINES[name](engine))
            left = [gen for gen in engine.active if not gen.cancel_reason]
            assert not (is_raised and left), number
            assert engine.drain(60)
            assert engine.state is EngineState.OPEN
            if not is_pressed:
                break
        assert number > 100
        assert engine.generate("abc", max_tokens=20).text == expected
        assert engine.status().slots_used == 0


# Every command


@pytest.mark.parametrize("command", ["cancel", "close", "call", "timeout", "submit"])
def test_every_command_at_every_decode(command: str) -> None:
    with new_engine() as engine:
        alone = engine.generate("abc", max_tokens=12, draft_length=0).text
    for at in range(1, 16):
        engine = new_engine()
        gens = []
        reached, acted = threading.Event(), threading.Event()
        count = itertools.count(1)

        def before_decode(_: Any, at: int = at, count: Any = count, reached: Any = reached, acted: Any = acted) -> None:
            if next(count) == at:
                reached.set()
                acted.wait(60)

        engine.call(lambda loop, act=before_decode: setattr(loop.context, "before_decode", act))
        gens = [engine.submit(prompt, max_tokens=12, draft_length=0) for prompt in ("abc", "bcd", "abc")]
        assert reached.wait(60)
        act(command, engine, gens, acted)
        acted.set()
        for gen in gens:
            assert gen.wait(60)
        assert all(gen.text == alone[: len(gen.text)] for gen in (gens[0], gens[2]))
        assert command != "submit" or all(gen.state == "finished" for gen in gens)
        engine.close()


def act(command: str, engine: Engine, gens: list[Any], acted: threading.Event) -> None:
    match command:
        case "cancel":
            gens[0].cancel()
        case "submit":
            gens.append(engine.submit("abc", max_tokens=12))
        case "timeout":
            gens.append(engine.submit("abc", max_tokens=12, timeout=0.0))
        case "close":
            threading.Timer(0.02, acted.set).start()
            engine.close()
        case "call":
            threading.Timer(0.02, acted.set).start()
            assert engine.call(lambda loop: loop.has_work) in (True, False)
