"""Whatever is raised, in any phase, ends the generation it belongs to and nobody else; a dead engine says so."""

from __future__ import annotations

import gc
import itertools
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import partial
from typing import Any

import pytest

from exsa_lab import loading
from exsa_lab.engine.engine import Engine, EngineState
from exsa_lab.engine.generation import Generation
from exsa_lab.engine.worker.registry import MAX_RECENT
from exsa_lab.errors import ConfigError, EngineClosed, EngineFailed, EngineNotLoaded, ExsaError, QueueFull
from exsa_lab.events import StateEvent, TokenEvent
from exsa_lab.testing import ScriptedModel, markov, scripted_engine
from tests.gate import held, until

LETTERS = [chr(ord("a") + i) for i in range(12)]
PROMPTS = ["abc", "bcd", "cde", "def"]
ERRORS = [
    RuntimeError("boom"),
    SystemExit(1),
    KeyboardInterrupt(),
    MemoryError(),
    GeneratorExit(),
    AssertionError("no"),
]
MODEL_CALLS = ("tokenize", "token_bytes", "token_label", "is_end", "logits")
PARTS = [
    *("drafting.draft", "drafting.begin", "drafting.observe_round", "drafting.finish_step"),
    *("_scheduler.schedule", "slots.extend"),
]
CONTEXT_CALLS = ("submit", "collect", "remove", "copy", "clear_abort")


def model(step_s: float = 0.0) -> ScriptedModel:
    return ScriptedModel(LETTERS, markov(12, 1), step_s=step_s)


def new_engine(**config: Any) -> Engine:
    return scripted_engine(model(), ScriptedModel(LETTERS, markov(12, 2)), **{"n_seq_max": 3, "n_ctx": 256, **config})


@pytest.fixture(scope="module")
def alone() -> dict[str, str]:
    with scripted_engine(model()) as engine:
        return {p: engine.generate(p, max_tokens=12, draft_length=0).text for p in PROMPTS}


@pytest.fixture(autouse=True)
def _no_thread_is_left() -> Iterator[None]:
    before = set(threading.enumerate())
    yield
    loading.unload()
    until(lambda: not set(threading.enumerate()) - before)


def ended_once(gen: Generation) -> bool:
    finals = [event for event in gen.events if isinstance(event, StateEvent) and event.state.is_final]
    return len(finals) == 1 and gen.events[-1] is finals[0] and gen.state == finals[0].state


class Fault:
    """Raises ``error`` at call number ``at`` of one method of an object, counted from here."""

    def __init__(self, thing: Any, name: str, at: int, error: BaseException) -> None:
        self.happened = False
        self.is_armed = True
        real, count = getattr(thing, name), itertools.count(1)

        def call(*args: Any, **kwargs: Any) -> Any:
            if self.is_armed and next(count) == at:
                self.happened = True
                raise error
            return real(*args, **kwargs)

        setattr(thing, name, call)


def faults() -> list[tuple[str, str]]:
    calls = [("target", name) for name in MODEL_CALLS] + [("draft", name) for name in MODEL_CALLS]
    return calls + [(f"{which} context", name) for which in ("target", "draft") for name in CONTEXT_CALLS]


def thing_of(loop: Any, which: str) -> Any:
    drafter = loop.drafting.model_drafter
    return {
        "target": loop.target,
        "draft": drafter.model if hasattr(drafter, "model") else drafter._model,
        "target context": loop.context,
        "draft context": drafter.context,
    }[which]


@pytest.mark.parametrize(("which", "name"), faults())
def test_a_fault_in_every_protocol_call(which: str, name: str, alone: dict[str, str]) -> None:
    """At every call of its kind in a run; what finished is right, and the engine goes on or says that it failed."""
    for error in ERRORS[:3]:
        for at in itertools.count(1):
            with new_engine() as engine:
                fault = engine.call(lambda loop, at=at, error=error: Fault(thing_of(loop, which), name, at, error))
                check_run(engine, alone, fault)
                if not fault.happened:
                    break


def check_run(engine: Engine, alone: dict[str, str], fault: Fault) -> None:
    gens: list[Generation] = []
    for number, prompt in enumerate(PROMPTS):
        try:
            gens.append(engine.submit(prompt, max_tokens=12, draft_length=2 if number % 2 else 0, chat=False))
        except EngineFailed:
            assert engine.state is EngineState.FAILED
    for gen in gens:
        assert gen.wait(60), "it hangs"
        assert ended_once(gen)
        if gen.state == "finished":
            assert gen.text == alone[str(gen.prompt)]
        else:
            assert gen.state == "failed"
            assert isinstance(gen.error, ExsaError)
            assert alone[str(gen.prompt)].startswith(gen.text)
    fault.is_armed = False
    if engine.state is EngineState.OPEN:
        assert sum(gen.state == "failed" for gen in gens) <= 1, "others failed, too"
        assert engine.generate("abc", max_tokens=12, chat=False).text == alone["abc"]
        status = engine.status()
        assert (status.running, status.waiting, status.slots_used) == (0, 0, 0)
        assert not engine.active
    else:
        assert all(gen.state.is_final for gen in gens)


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
@pytest.mark.parametrize("part", PARTS)
def test_a_fault_in_our_own_parts(part: str, error: BaseException, alone: dict[str, str]) -> None:
    owner, _, name = part.partition(".")
    for at in (1, 2, 5, 9):
        with new_engine() as engine:
            fault = engine.call(lambda loop, at=at: Fault(getattr(loop, owner), name, at, error))
            gens = [engine.submit(p, max_tokens=12, draft_length=2, chat=False) for p in PROMPTS]
            for gen in gens:
                assert gen.wait(60)
                assert ended_once(gen)
                if gen.state == "finished":
                    assert gen.text == alone[str(gen.prompt)]
            if name != "schedule":  # nobody's: then all that ran end
                assert sum(gen.state == "failed" for gen in gens) <= 1
            fault.is_armed = False
            assert engine.generate("abc", max_tokens=12, chat=False).text == alone["abc"]


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
def test_a_cache_that_cannot_be_cleared_ends_the_engine_and_everything_in_it(error: BaseException) -> None:
    def refuse(*_: Any) -> bool:
        raise error

    engine = new_engine()
    gens = [engine.submit(p, max_tokens=200, draft_length=2, chat=False) for p in PROMPTS]
    engine.call(lambda loop: setattr(loop.context, "remove", refuse))
    for gen in gens:
        assert gen.wait(60)
        assert ended_once(gen)
        assert isinstance(gen.error, EngineFailed)
        with pytest.raises(EngineFailed):
            gen.result()
    assert engine.state is EngineState.FAILED
    for use in (lambda: engine.submit("abc"), lambda: engine.call(lambda loop: None), lambda: engine.costs):
        with pytest.raises(EngineFailed):
            use()
    assert engine.status().state == "failed"
    assert not engine.active
    engine.close()
    assert engine.state is EngineState.CLOSED


def test_a_failed_engine_is_not_handed_out() -> None:
    engine = loading.use(new_engine())
    kill(engine)
    with pytest.raises(EngineNotLoaded, match="failed"):
        loading.get_engine()
    assert loading.use(new_engine()) is not engine


def kill(engine: Engine) -> None:
    """End the engine's thread in a way that nothing catches."""

    def end(loop: Any) -> None:
        loop._scheduler = None

    engine.call(end)
    until(lambda: engine.state is EngineState.FAILED)


def test_nobody_waits_for_a_thread_that_is_gone() -> None:
    engine = new_engine(n_seq_max=1)
    gens = [engine.submit("abc", max_tokens=240, draft_length=0, chat=False) for _ in range(5)]
    kill(engine)
    for gen in gens:
        assert gen.wait(60)
        assert ended_once(gen)
        assert gen.state in ("failed", "finished")
    engine.close()


# What is given at the start

BAD_PROMPTS: list[Any] = [
    *(None, b"abc", 3, {"role": "user"}, ["abc"], [{"role": "user"}], [], object()),
    *([{"role": "user", "content": None}], [{"role": "nobody", "content": ""}]),
]


@pytest.mark.parametrize("prompt", BAD_PROMPTS)
def test_a_bad_prompt_is_refused_where_it_is_given(prompt: Any, alone: dict[str, str]) -> None:
    with new_engine() as engine:
        with pytest.raises(ConfigError):
            engine.submit(prompt)
        assert not engine.active
        assert engine.generate("abc", max_tokens=12).text == alone["abc"]


def test_a_list_that_is_changed_afterwards_changes_nothing(alone: dict[str, str]) -> None:
    with new_engine() as engine:
        with held(engine):
            messages = [{"role": "user", "content": "abc"}]
            gen = engine.submit(messages, max_tokens=12)
            messages[0]["content"] = "def"
            messages.append({"role": "user", "content": "def"})
        assert gen.result(60) == alone["abc"]
        assert gen.trace.prompt == "abc"


# Other people's code


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
@pytest.mark.parametrize("inline", [False, True])
def test_what_callbacks_raise_is_theirs(error: BaseException, inline: bool, alone: dict[str, str]) -> None:
    def fail(*_: Any) -> None:
        raise error

    with new_engine() as engine:
        heard: list[Any] = []
        over = threading.Event()
        with held(engine):
            gen = engine.submit("abc", max_tokens=12)
            gen.subscribe(fail, inline=inline)
            gen.on_end(fail, inline=inline)
            gen.subscribe(heard.extend)
            gen.on_end(over.set)
        assert gen.result(60) == alone["abc"]
        assert over.wait(60)
        assert "".join(event.text for event in heard if isinstance(event, TokenEvent)) == alone["abc"]


def test_a_listener_that_never_returns_does_not_stop_the_engine(alone: dict[str, str]) -> None:
    with new_engine() as engine:
        stuck = threading.Event()

        def never_return(events: list[Any]) -> None:
            if any(isinstance(event, TokenEvent) for event in events):
                stuck.wait(60)

        with held(engine):
            first, gen = engine.submit("abc", max_tokens=200), engine.submit("bcd", max_tokens=12)
            first.on_end(partial(stuck.wait, 60))  # type: ignore[arg-type]
            gen.subscribe(never_return)
        assert engine.generate("bcd", max_tokens=12).text == alone["bcd"]
        assert gen.result(60) == alone["bcd"]
        stuck.set()


def test_listeners_may_use_the_engine_and_subscribe(alone: dict[str, str]) -> None:
    with new_engine() as engine:
        done, seen = threading.Event(), []

        def on_end() -> None:
            seen.append(engine.call(lambda loop: loop.has_work))
            seen.append(engine.generate("bcd", max_tokens=12).text)
            gen.subscribe(lambda events: seen.append(len(events)))
            done.set()

        gen = engine.submit("abc", max_tokens=12)
        gen.on_end(on_end)
        assert done.wait(60)
        assert seen == [False, alone["bcd"], len(gen.events)]


def test_every_listener_hears_everything_once_in_order() -> None:
    with new_engine() as engine:
        heard: list[list[Any]] = [[] for _ in range(40)]
        gens = [engine.submit(p, max_tokens=100, draft_length=2) for p in PROMPTS]
        for number, events in enumerate(heard):
            gens[number % 4].subscribe(events.extend, inline=number % 3 == 0)
            time.sleep(0.0002)
        for gen in gens:
            assert gen.wait(60)
    for number, events in enumerate(heard):
        assert events == gens[number % 4].events


def test_closing_in_a_callback(alone: dict[str, str]) -> None:
    engine = new_engine()
    gen = engine.submit("abc", max_tokens=12)
    closed = threading.Event()

    def close() -> None:
        engine.close()
        closed.set()

    gen.on_end(close)
    assert gen.result(60) == alone["abc"]
    assert closed.wait(60)
    assert engine.state is EngineState.CLOSED


# Many


def test_draining_and_cancelling_see_more_than_is_remembered() -> None:
    with new_engine(n_seq_max=2) as engine:
        with held(engine):
            gens = [engine.submit("abc", max_tokens=20, draft_length=0) for _ in range(MAX_RECENT + 150)]
            assert len(engine.generations) >= len(engine.active) > MAX_RECENT
            for gen in engine.active:
                gen.cancel("all")
        assert engine.drain(60)
        assert all(gen.state.is_final for gen in gens)
        assert len(engine.generations) == MAX_RECENT
        assert engine.active == []


def test_a_refused_generation_is_not_remembered() -> None:
    with new_engine(n_seq_max=1, max_waiting=1) as engine:
        with held(engine):
            gens = [engine.submit("abc", max_tokens=2) for _ in range(2)]
            with pytest.raises(QueueFull):
                engine.submit("abc")
        assert engine.generations == gens
        engine.drain(60)
        engine.submit("abc", max_tokens=2).result(60)
    with pytest.raises(EngineClosed):
        engine.submit("abc")
    assert engine.active == []


def test_the_reason_given_first_is_kept() -> None:
    engine = new_engine(n_seq_max=1)
    with ExitStack() as hold:
        hold.enter_context(held(engine))
        gens = [engine.submit("abc", max_tokens=250, chat=False, draft_length=0) for _ in range(4)]
        gens[3].cancel("mine")
        threading.Timer(0.1, hold.close).start()  # while it is being closed
        engine.close()
    reasons = [gen.cancel_reason for gen in gens if gen.state == "cancelled"]
    assert gens[3].cancel_reason == "mine"
    assert set(reasons) <= {"mine", "the engine was closed"}


# Opening


@pytest.mark.parametrize("error", [*ERRORS, TimeoutError(), ConfigError("no.")], ids=lambda error: type(error).__name__)
@pytest.mark.parametrize("when", ["opening", "assembling"])
def test_what_opening_raises_is_raised_where_it_was_asked_for(error: BaseException, when: str) -> None:
    target = model()

    def fail(*_: Any, **__: Any) -> Any:
        raise error

    if when == "assembling":
        target.open_context = fail  # type: ignore[method-assign]
    with pytest.raises(type(error)):
        Engine(fail if when == "opening" else lambda progress: loading.Models(target), loading.EngineConfig())
    assert target.is_closed or when == "opening"


def test_progress_is_told_where_the_engine_was_asked_for() -> None:
    told: list[tuple[float, str]] = []

    def open_models(progress: Callable[[float], bool]) -> loading.Models:
        for step in range(1, 11):
            progress(step / 10)
            time.sleep(0.02)
        return loading.Models(model())

    def progress(fraction: float) -> None:
        told.append((fraction, threading.current_thread().name))

    engine = Engine(open_models, loading.EngineConfig(), progress=progress)
    engine.close()
    assert [fraction for fraction, _ in told] == sorted({fraction for fraction, _ in told})
    assert told[-1][0] == 1.0
    assert {name for _, name in told} == {"MainThread"}


def report_of_a_fork(engine: Engine, gen: Generation, write: int) -> None:
    """Write what the fork of a process finds of its engine, and end it."""
    report = []
    try:
        report.append(str(engine.state))
        for use in (lambda: engine.submit("abc"), gen.result):
            try:
                use()
            except ExsaError as error:
                report.append(type(error).__name__)
        try:
            loading.get_engine()
        except EngineNotLoaded:
            report.append("none")
        engine.close()
        with new_engine() as own:
            report.append(own.generate("abc", max_tokens=2, chat=False).state)
    finally:
        os.write(write, " ".join(map(str, report)).encode())
        os._exit(0)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_fork_has_no_engine_and_says_so() -> None:
    engine = loading.use(new_engine())
    read, write = os.pipe()
    with held(engine):
        gen = engine.submit("abc", max_tokens=250, draft_length=0, chat=False)
        child = os.fork()
        if child == 0:
            report_of_a_fork(engine, gen, write)  # and ends
    os.close(write)
    told = b""
    while part := os.read(read, 1000):
        told += part
    os.close(read)
    assert os.waitpid(child, 0)[1] == 0
    assert told.decode().split() == ["failed", "EngineFailed", "EngineFailed", "none", "finished"]
    assert gen.wait(60)
    assert gen.state == "finished"
    gc.collect()


def test_calls_on_the_engine_thread_are_made_at_once() -> None:
    with new_engine() as engine:
        assert engine.call(lambda loop: engine.call(lambda inner: inner is loop))
