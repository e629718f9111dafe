"""An engine in a child process: the same texts, events and names; and whatever happens to the child, nobody hangs."""

from __future__ import annotations

import asyncio
import ctypes
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

import psutil
import pytest

from exsa_lab import loading
from exsa_lab.config import EngineConfig
from exsa_lab.engine.engine import Engine, EngineState
from exsa_lab.engine.worker import child_process
from exsa_lab.engine.worker.child_process import child_environment
from exsa_lab.engine.worker.isolated import IsolatedWorker
from exsa_lab.errors import ConfigError, EngineClosed, EngineError, EngineFailed, GenerationCancelled
from exsa_lab.events import PromptTokenEvent, StateEvent, TokenEvent
from exsa_lab.testing import scripted_engine
from tests.engine.worker.child_models import Opener
from tests.gate import until
from tests.test_interrupts import press_at

CONFIG = EngineConfig(n_ctx=512, n_seq_max=3)


def isolated(opener: Opener | None = None, config: EngineConfig = CONFIG) -> Engine:
    return Engine.on(IsolatedWorker(opener or Opener(), config), config)


def child_of(engine: Engine) -> psutil.Process:
    return psutil.Process(engine._worker.pid)  # type: ignore[attr-defined]


@pytest.fixture(scope="module")
def engine() -> Iterator[Engine]:
    with isolated() as engine:
        yield engine


@pytest.fixture(scope="module")
def here() -> Iterator[Engine]:
    models = Opener()(lambda _: True)
    with scripted_engine(models.target, models.draft, n_ctx=512, n_seq_max=3) as engine:  # type: ignore[arg-type]
        yield engine


def test_alternatives_cross_the_wire(engine: Engine, here: Engine) -> None:
    params: dict[str, Any] = {"max_tokens": 12, "top_logprobs": 3, "prompt_logprobs": 2, "draft_length": 2}
    gen, same = engine.generate("ab", **params), here.generate("ab", **params)
    looks = [event for event in gen.events if isinstance(event, TokenEvent | PromptTokenEvent)]
    assert looks == [event for event in same.events if isinstance(event, TokenEvent | PromptTokenEvent)]
    assert all(event.top for event in looks[1:])
    assert gen.prompt_logprobs == same.prompt_logprobs


def has_work(loop: Any) -> bool:
    return bool(loop.has_work)


def returns_no_json(loop: Any) -> Any:
    return loop


def of_a_notebook() -> Any:
    """A function that this process finds by its name, and another one does not."""

    def of_this_cell(loop: Any) -> bool:
        return True

    of_this_cell.__module__, of_this_cell.__qualname__ = "__main__", "of_this_cell"
    sys.modules["__main__"].of_this_cell = of_this_cell  # type: ignore[attr-defined]
    return of_this_cell


def ended_once(gen: Any) -> bool:
    return sum(isinstance(event, StateEvent) and event.state.is_final for event in gen.events) == 1


def test_everything_is_as_it_is_in_this_process(engine: Engine, here: Engine) -> None:
    for params in ({"draft_length": 0}, {"draft_length": 3}, {"temperature": 0.8, "seed": 3, "draft_length": 2}):
        remote, local = (e.generate("abc", max_tokens=25, chat=False, **params) for e in (engine, here))
        assert remote.text == local.text
        assert remote.tokens == local.tokens
        assert remote.prompt_ids == local.prompt_ids
        assert (remote.state, remote.finish_reason, remote.seed is None) == (local.state, local.finish_reason, False)
        ours, theirs = ([e for e in gen.events if isinstance(e, TokenEvent)] for gen in (remote, local))
        assert [(e.token_id, e.text, e.source, e.u) for e in ours] == [
            (e.token_id, e.text, e.source, e.u) for e in theirs
        ]
        names = ("prompt_tokens", "generated_tokens", "rounds", "drafted_tokens", "accepted_tokens", "draft_reasons")
        assert [asdict(remote.stats)[name] for name in names] == [asdict(local.stats)[name] for name in names]
        assert 0 < remote.stats.ttft_s < 60
        assert remote.trace.summary()["tokens"] == 25
    assert engine.model_names == here.model_names
    assert engine.notes == ("a note",)
    assert engine.status().slots == 3
    engine.drain(60)


def test_a_text_is_gone_on_with_and_thoughts_are_told(engine: Engine, here: Engine) -> None:
    for e in (engine, here):
        whole = e.generate("abc", max_tokens=12, draft_length=0)
        first = e.generate("abc", max_tokens=5, draft_length=0)
        second = first.more(max_tokens=7)
        assert first.text + second.result() == whole.text
        assert first.tokens + second.tokens == whole.tokens
        assert (first.reasoning, first.answer, first.is_thinking) == ("", first.text, False)


def test_the_model_answers_from_there(engine: Engine, here: Engine) -> None:
    for ask in (
        lambda e: e.target.tokenize("abcd", add_special=True, parse_special=False),
        lambda e: [e.target.token_bytes(3), e.target.token_label(3), e.target.is_end(3)],
        lambda e: (e.target.chat_template, asdict(e.target.token_rules)),
        lambda e: (e.target.vocab_size, e.target.is_recurrent, e.costs),
    ):
        assert ask(engine) == ask(here)
    with pytest.raises(ConfigError):
        engine.target.tokenize("no such letters", add_special=True, parse_special=False)
    with pytest.raises(EngineError, match="process of its own"):
        engine.call(lambda loop: loop)
    assert engine.call(has_work) is False
    for function in (of_a_notebook(), returns_no_json):
        with pytest.raises(EngineError):
            engine.call(function)
    assert engine.call(has_work) is False
    engine.forget_texts()
    gen = engine.generate("abc", max_tokens=5, chat=False)
    places, own = gen.positions(), here.positions(gen.trace)
    assert (places.target == own.target).all()
    assert places.draft is not None
    assert own.draft is not None
    assert (places.draft == own.draft).all()


def test_drafts_are_looked_up_there_until_the_texts_are_forgotten(engine: Engine) -> None:
    def looked_up() -> set[int | None]:
        gen = engine.generate("abba", max_tokens=24, drafter="ngram", draft_length=4)
        return {event.looked_up_in for event in gen.trace.rounds} - {None}

    engine.forget_texts()
    assert looked_up() == set()
    assert looked_up() == {engine.generations[-2].id}
    running = engine.submit("abcc", max_tokens=400, draft_length=0)
    engine.forget_texts()
    running.cancel()
    running.wait(60)
    assert looked_up() <= {running.id}


def test_listening_awaiting_and_cancelling() -> None:
    with isolated(Opener(step_s=0.005)) as engine:
        heard: list[Any] = []
        gen = engine.submit("abc", max_tokens=20, chat=False)
        gen.subscribe(heard.extend)
        over = threading.Event()
        gen.on_end(over.set)

        async def both() -> str:
            texts = [event.text async for event in gen.stream() if isinstance(event, TokenEvent)]
            assert await gen == "".join(texts)
            return await gen

        assert asyncio.run(both()) == gen.text
        assert over.wait(60)
        assert heard == gen.events
        long = engine.submit("abc", max_tokens=400, chat=False, draft_length=0)
        while not long.tokens:
            time.sleep(0.01)
        long.cancel("enough")
        with pytest.raises(GenerationCancelled, match="enough"):
            long.result(60)
        late = engine.submit("abc", max_tokens=400, chat=False, timeout=0.2)
        assert late.wait(60)
        assert late.cancel_reason == "timeout of 0.2 s"
        with pytest.raises(ConfigError):
            engine.generate("XYZ", chat=False)
    with pytest.raises(EngineClosed):
        engine.submit("abc")
    assert engine.state is EngineState.CLOSED


def test_a_text_is_continued_from_there(engine: Engine, here: Engine) -> None:
    texts = [e.generate("abc", max_tokens=5, chat=False).more(max_tokens=5).result(60) for e in (engine, here)]
    assert texts[0] == texts[1]


def test_closing_ends_what_runs_and_leaves_no_process() -> None:
    engine = isolated(Opener(step_s=0.01))
    process = child_of(engine)
    gens = [engine.submit("abc", max_tokens=400, chat=False) for _ in range(9)]
    engine.close()
    for gen in gens:
        assert gen.wait(60)
        assert (gen.state, gen.cancel_reason, ended_once(gen)) == ("cancelled", "the engine was closed", True)
    assert not process.is_running() or process.status() == psutil.STATUS_ZOMBIE


@pytest.mark.parametrize("trouble", ["segv", "bus", "abort", "kill", "exit", "memory", "lie"])
def test_a_child_that_dies_fails_what_it_had_and_starts_again(
    trouble: str, here: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(child_process, "MEMORY_SHARE", 0.05)
    with isolated(Opener(trouble)) as engine:
        first = child_of(engine)
        whole = engine.generate("abc", max_tokens=5, chat=False)
        gens = [engine.submit(prompt, max_tokens=200, chat=False, draft_length=0) for prompt in ("abc", "bcd", "cde")]
        for gen in gens:
            assert gen.wait(60)
            assert ended_once(gen)
        assert gens[1].state == "failed"
        for gen in gens:
            assert gen.text == here.generate(str(gen.prompt), max_tokens=200, chat=False).text[: len(gen.text)]
            assert gen.trace.tokens == gen.tokens[: len(gen.trace.tokens)]
        if trouble != "memory":  # which may be refused to one allocation, and be its error alone
            assert isinstance(gens[1].error, EngineFailed)
            assert engine.state is EngineState.FAILED
        assert engine.generate("abc", max_tokens=5, chat=False).text == whole.text
        assert engine.state is EngineState.OPEN
        assert trouble == "memory" or not first.is_running()


def test_a_model_answers_after_its_process_died(here: Engine) -> None:
    with isolated() as engine:
        target = engine.target
        child_of(engine).kill()
        while engine.state is EngineState.OPEN:
            time.sleep(0.01)
        assert target.token_label(3) == here.target.token_label(3)
        assert engine.state is EngineState.OPEN
    with pytest.raises(EngineClosed):
        target.token_label(4)


def test_a_fault_of_its_own_is_one_generations_error(here: Engine) -> None:
    with isolated(Opener("raise")) as engine:
        gens = [engine.submit(p, max_tokens=20, chat=False, draft_length=0) for p in ("abc", "bcd", "cde")]
        for gen in gens:
            assert gen.wait(60)
        assert [gen.state for gen in gens] == ["finished", "failed", "finished"]
        assert engine.state is EngineState.OPEN


def test_a_child_that_holds_its_interpreter_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(child_process, "SILENT_S", 3.0)
    with isolated(Opener("hold")) as engine:
        gen = engine.submit("bcd", max_tokens=20, chat=False, draft_length=0)
        assert gen.wait(60)
        assert isinstance(gen.error, EngineFailed)
        assert engine.generate("abc", max_tokens=3, chat=False).state == "finished"


@pytest.mark.parametrize("trouble", ["hold", "silence"])
def test_a_child_that_says_nothing_while_it_opens_is_ended(trouble: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(child_process, "SILENT_S", 3.0)
    monkeypatch.setattr(child_process, "START_S", 5.0)
    if trouble == "silence":
        monkeypatch.setattr(child_process.wire, "write_frame", lambda *_: None)  # it waits for its first word
    with pytest.raises(EngineFailed, match="watchdog"):
        isolated(Opener("hold", when_opened=True))


def test_a_child_is_not_blamed_for_a_parent_that_slept(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """A cell that holds the interpreter here, a laptop that was closed: the child's words wait in the pipe."""
    monkeypatch.setattr(child_process, "SILENT_S", 2.5)
    process = child_of(engine)
    for _ in range(3):
        ctypes.PyDLL(None).sleep(4)
        time.sleep(0.7)
    assert child_of(engine) == process
    assert engine.generate("abc", max_tokens=3, chat=False).state == "finished"


def test_an_interrupt_while_a_long_prompt_is_sent_cuts_no_frame(engine: Engine) -> None:
    process = child_of(engine)
    for number in range(1, 60, 3):
        _, is_raised = press_at(number, lambda: engine.generate("abc" * 100, max_tokens=100, draft_length=0))
        assert not (is_raised and [gen for gen in engine.active if not gen.cancel_reason])
        assert engine.drain(60)
    assert engine.generate("abc", max_tokens=3, chat=False).state == "finished"
    assert child_of(engine) == process


def test_a_child_that_gets_nowhere_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(child_process, "STUCK_S", 2.0)
    with isolated(Opener(step_s=1000.0)) as engine:
        gen = engine.submit("abc", max_tokens=20, chat=False)
        assert gen.wait(60)
        assert isinstance(gen.error, EngineFailed)


def test_killed_again_and_again_nothing_hangs_and_nothing_is_lost() -> None:
    with isolated(Opener(step_s=0.01)) as engine:
        for number in range(6):
            gens = [engine.submit("abc", max_tokens=300, chat=False, draft_length=0) for _ in range(5)]
            while number % 2 and not gens[0].tokens:
                time.sleep(0.005)
            child_of(engine).send_signal(signal.SIGKILL)
            for gen in gens:
                assert gen.wait(30)
                assert ended_once(gen)
                assert gen.state == "failed"
            assert not engine.active


@pytest.mark.parametrize("trouble", ["segv", "exit", "raise"])
def test_what_happens_while_opening_is_raised(trouble: str) -> None:
    before = len(psutil.Process().children())
    with pytest.raises(EngineError) as raised:
        isolated(Opener(trouble, when_opened=True))
    assert "next prompt" not in str(raised.value)
    assert ("while it opened the model" in str(raised.value)) == (trouble != "raise")
    assert len(psutil.Process().children()) <= before


def test_an_engine_that_cannot_be_sent_is_refused() -> None:
    with pytest.raises(ConfigError, match="another process"):
        IsolatedWorker(lambda progress: Opener()(progress), CONFIG)


def test_a_child_ends_with_its_parent() -> None:
    read, write = os.pipe()
    parent = os.fork()
    if parent == 0:
        try:
            engine = isolated()
            os.write(write, str(child_of(engine).pid).encode())
        finally:
            os._exit(0)
    os.close(write)
    process = int(os.read(read, 20))
    os.close(read)
    os.waitpid(parent, 0)
    until(lambda: not psutil.pid_exists(process) or psutil.Process(process).status() == psutil.STATUS_ZOMBIE)


def test_a_child_gets_no_credentials(engine: Engine) -> None:
    secrets = {
        "HF_TOKEN": "x",
        "OPENAI_API_KEY": "x",
        "AWS_SECRET_ACCESS_KEY": "x",
        "JUPYTER_TOKEN": "x",
        "SSH_AUTH_SOCK": "x",
    }
    assert set(child_environment({**dict.fromkeys(secrets, "x"), "PATH": "y", "LC_ALL": "z"})) == {
        "PATH",
        "LC_ALL",
        "GGML_NO_BACKTRACE",
    }
    assert set(child_of(engine).environ()) <= set(child_environment(dict(os.environ))) | {"PYTHONPATH", "LC_CTYPE"} | {
        "OMP_WAIT_POLICY", "GOMP_SPINCOUNT"
    }  # fmt: skip


def test_a_child_has_a_memory_limit(engine: Engine) -> None:
    resource = pytest.importorskip("resource")
    limit, _ = child_of(engine).rlimit(resource.RLIMIT_DATA)
    assert 0 < limit < psutil.virtual_memory().total


def test_the_kernels_engine_starts_again_for_the_next_cell() -> None:
    loading.use(isolated(Opener("segv")))
    try:
        gen = loading.get_engine().submit("bcd", max_tokens=20, chat=False, draft_length=0)
        assert gen.wait(60)
        assert gen.state == "failed"
        assert loading.get_engine().generate("abc", max_tokens=3, chat=False).state == "finished"
    finally:
        loading.unload()


@pytest.mark.real
def test_a_real_pair_in_a_child() -> None:
    engine = loading.load(isolate=True, n_seq_max=4)
    try:
        assert loading.load(isolate=True, n_seq_max=4) is engine
        gens = [engine.submit(f"Count to {n}.", max_tokens=24) for n in (3, 5, 7)]
        texts = [gen.result(120) for gen in gens]
        assert engine.costs is not None
        child_of(engine).kill()
        while engine.state is EngineState.OPEN:
            time.sleep(0.01)
        assert loading.load(isolate=True, n_seq_max=4) is engine
        assert engine.generate("Count to 3.", max_tokens=24).text == texts[0]
        here = loading.load(n_seq_max=4)
        assert here is not engine
        assert here.generate("Count to 3.", max_tokens=24).text == texts[0]
    finally:
        loading.unload()
