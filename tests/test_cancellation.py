"""Cancel, failure, interrupt and close at any moment: slots come back, the others finish with the right text."""

from __future__ import annotations

import asyncio
import gc
import itertools
import threading
import weakref
from collections.abc import Callable, Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exsa_lab.engine.engine import Engine
from exsa_lab.engine.generation import Generation
from exsa_lab.engine.worker.thread import ABORT_ABOVE_TOKENS
from exsa_lab.errors import DecodeError, GenerationCancelled, OutOfMemory
from exsa_lab.testing import Entry, ScriptedContext, ScriptedModel, markov, scripted_engine
from tests.gate import Gate, held, until

LETTERS = [chr(ord("a") + i) for i in range(12)]
PROMPTS = ["abc", "bcd", "cde", "def", "efg", "fgh"]


def model(step_s: float = 0.002) -> ScriptedModel:
    return ScriptedModel(LETTERS, markov(12, 1), step_s=step_s)


@pytest.fixture(scope="module")
def alone() -> dict[str, str]:
    """What each prompt gives by itself."""
    with scripted_engine(model(0)) as engine:
        return {p: engine.generate(p, max_tokens=30, draft_length=0).text for p in [*PROMPTS, "abcdefgh" * 12]}


@pytest.fixture
def engine() -> Iterator[Engine]:
    before = set(threading.enumerate())
    with scripted_engine(model(), model(), n_seq_max=3, n_ctx=256, step_tokens=16) as engine:
        yield engine
        engine.drain(timeout=60)
        assert (engine.status().slots_used, engine.status().running, engine.status().waiting) == (0, 0, 0)
        assert engine.call(lambda loop: loop.context.num_cells_used == loop.slots.num_cells_used)  # type: ignore[attr-defined]
    assert not set(threading.enumerate()) - before


def submit_all(engine: Engine, **params: object) -> list[Generation]:
    return [engine.submit(p, **{"max_tokens": 30, "draft_length": 2, **params}) for p in PROMPTS]


def check_others(gens: list[Generation], cancelled: Generation, alone: dict[str, str]) -> None:
    assert cancelled.wait(timeout=60)
    assert cancelled.state == "cancelled"
    for gen in gens:
        if gen is not cancelled:
            assert gen.result(timeout=60) == alone[str(gen.prompt)]


def test_cancel_while_waiting(engine: Engine, alone: dict[str, str]) -> None:
    with held(engine):
        gens = submit_all(engine)
        gens[-1].cancel("not needed")
    check_others(gens, gens[-1], alone)
    assert gens[-1].text == ""
    with pytest.raises(GenerationCancelled, match="not needed"):
        gens[-1].result()


def test_cancel_while_decoding_keeps_the_partial_text(engine: Engine, alone: dict[str, str]) -> None:
    gate = Gate(engine, at=8)
    gens = submit_all(engine)
    with gate:
        gens[0].cancel()
    check_others(gens, gens[0], alone)
    assert gens[0].text
    assert alone["abc"].startswith(gens[0].text)
    assert gens[0].finish_reason == "cancelled"


def test_cancel_in_the_middle_of_a_prefill(alone: dict[str, str]) -> None:
    with scripted_engine(model(), n_seq_max=3, n_ctx=256, step_tokens=16) as engine:
        gate = Gate(engine, at=3)
        gens = [engine.submit(p, max_tokens=30, draft_length=0) for p in ("abcdefgh" * 12, "abc")]
        with gate:
            gens[0].cancel()
        check_others(gens, gens[0], alone)
        assert gens[0].tokens == []
        assert engine.status().slots_used == 0


def test_a_large_decode_is_aborted_and_the_others_go_on(alone: dict[str, str]) -> None:
    target = model(0)
    with scripted_engine(target, n_seq_max=3, n_ctx=512, step_tokens=128) as engine:
        is_large = threading.Event()

        def before_decode(entries: list[Entry]) -> None:
            target.step_s = 600.0 if len(entries) > ABORT_ABOVE_TOKENS else 0.0  # without an abort it would not end
            if len(entries) > ABORT_ABOVE_TOKENS:
                is_large.set()

        engine.call(lambda loop: setattr(loop.context, "before_decode", before_decode))
        with held(engine):
            short = engine.submit("abc", max_tokens=2, draft_length=0)
            long = engine.submit("abcdefgh" * 12, max_tokens=2)
        assert is_large.wait(timeout=60)
        long.cancel()
        assert long.wait(timeout=60)
        assert long.state == "cancelled"
        assert short.result(timeout=60) == alone["abc"][:2]


@settings(max_examples=30, deadline=None)
@given(data=st.data())
def test_cancel_at_any_moment(data: st.DataObject) -> None:
    """Random cancels at random decodes of a run; what is not cancelled is right, what is cancelled is a prefix."""
    cancels = data.draw(st.lists(st.tuples(st.integers(0, 30), st.integers(0, 5)), max_size=6))
    with scripted_engine(model(0)) as engine:
        expected = {p: engine.generate(p, max_tokens=20, draft_length=0).text for p in PROMPTS}
    with scripted_engine(model(0), model(0), n_seq_max=3, n_ctx=96, step_tokens=12) as engine:
        gens: list[Generation] = []
        count = 0

        def before_decode(_: list[Entry]) -> None:
            nonlocal count
            for moment, index in cancels:
                if moment == count and index < len(gens):
                    gens[index].cancel()
            count += 1

        engine.call(lambda loop: setattr(loop.context, "before_decode", before_decode))
        gens += [engine.submit(p, max_tokens=20, draft_length=i % 4) for i, p in enumerate(PROMPTS)]
        for gen in gens:
            assert gen.wait(timeout=60)
            assert expected[str(gen.prompt)].startswith(gen.text)
            assert gen.state == "cancelled" or gen.text == expected[str(gen.prompt)]
            assert [e.state for e in gen.events if hasattr(e, "state") and e.state.is_final] == [gen.state]
        assert engine.status().slots_used == 0
        assert engine.call(lambda loop: loop.context.num_cells_used) == engine.status().cells_used  # type: ignore[attr-defined]


def fail_when(engine: Engine, is_hit: Callable[[list[Entry]], bool], error: Exception) -> None:
    def before_decode(entries: list[Entry]) -> None:
        if is_hit(entries):
            raise error

    engine.call(lambda loop: setattr(loop.context, "before_decode", before_decode))


def test_a_decode_that_fails_for_one_sequence_fails_only_that(engine: Engine, alone: dict[str, str]) -> None:
    poison = LETTERS.index("e"), LETTERS.index("f"), LETTERS.index("g")
    fail_when(
        engine,
        lambda entries: any((p, t) == (0, poison[0]) for _, p, t in entries),
        DecodeError("llama_decode failed with code -3."),
    )
    gens = submit_all(engine)
    for gen in gens:
        gen.wait(timeout=60)
        if gen.prompt == "efg":
            assert (gen.state, gen.finish_reason) == ("failed", "error")
            with pytest.raises(DecodeError, match="code -3"):
                gen.result()
        else:
            assert gen.text == alone[str(gen.prompt)]


def test_no_cells_for_one_step_is_survived_alone(engine: Engine, alone: dict[str, str]) -> None:
    fail_when(engine, lambda entries: len({slot for slot, _, _ in entries}) > 1, OutOfMemory("no free cells."))
    for gen in submit_all(engine):
        assert gen.result(timeout=60) == alone[str(gen.prompt)]


@pytest.mark.parametrize("error", [OutOfMemory("no free cells."), DecodeError("the draft broke.")])
def test_a_draft_that_fails_costs_only_its_draft(engine: Engine, alone: dict[str, str], error: Exception) -> None:
    calls = itertools.count()

    def install(context: ScriptedContext) -> None:
        def before_decode(_: list[Entry]) -> None:
            if next(calls) % 3 == 2:
                raise error

        context.before_decode = before_decode

    engine.call(lambda loop: install(loop.drafting.model_drafter.context))  # type: ignore[arg-type,union-attr]
    gens = submit_all(engine)
    for gen in gens:
        assert gen.result(timeout=60) == alone[str(gen.prompt)]
    assert sum(gen.stats.accepted_tokens for gen in gens) > 0


def test_a_defect_in_a_step_fails_what_ran_and_the_engine_serves_on(engine: Engine, alone: dict[str, str]) -> None:
    count = itertools.count()
    fail_when(engine, lambda _: next(count) >= 4, ZeroDivisionError("a bug"))
    gens = submit_all(engine)
    for gen in gens:
        assert gen.wait(timeout=60)
        assert gen.state in ("failed", "finished")
    with pytest.raises(DecodeError, match="a bug"):
        gens[-1].result()
    fail_when(engine, lambda _: False, ZeroDivisionError())
    assert engine.generate("abc", max_tokens=30).text == alone["abc"]


def test_a_timeout_ends_a_generation_and_keeps_its_text(alone: dict[str, str]) -> None:
    with scripted_engine(model(0.01), n_seq_max=2) as engine:
        slow = engine.submit("abc", max_tokens=2000, timeout=1.5, draft_length=0)
        other = engine.submit("bcd", max_tokens=30, draft_length=0)
        waiting = engine.submit("cde", max_tokens=5, timeout=0.01, draft_length=0)
        with pytest.raises(GenerationCancelled, match=r"timeout of 1\.5 s"):
            slow.result(timeout=60)
        assert slow.text
        assert waiting.wait(timeout=60)
        assert waiting.state == "cancelled"
        assert other.result(timeout=60) == alone["bcd"]


def test_close_with_many_in_flight_ends_them_all() -> None:
    before = set(threading.enumerate())
    reference = close_with_many_in_flight()
    assert not set(threading.enumerate()) - before
    gc.collect()
    assert reference() is None


def close_with_many_in_flight() -> weakref.ref[Engine]:
    engine = scripted_engine(model(0.01), n_seq_max=4)
    gens = [engine.submit(PROMPTS[i % 6], max_tokens=500, draft_length=0) for i in range(20)]
    until(lambda: gens[0].tokens)
    engine.close()
    for gen in gens:
        assert gen.wait(timeout=60)
        assert gen.state == "cancelled"
    return weakref.ref(engine)


def test_an_interrupt_cancels_and_keeps_the_text(engine: Engine, alone: dict[str, str]) -> None:
    gate = Gate(engine, at=8)

    def interrupt() -> None:
        import _thread

        with gate:
            _thread.interrupt_main()
            until(lambda: engine.generations[-1].cancel_reason)

    helper = threading.Thread(target=interrupt)
    helper.start()
    with pytest.raises(KeyboardInterrupt):
        engine.generate("abc", max_tokens=200, draft_length=0)
    helper.join()
    gen = engine.generations[-1]
    assert gen.state == "cancelled"
    assert alone["abc"][:4] == gen.text[:4]
    assert engine.generate("bcd", max_tokens=30).text == alone["bcd"]


def test_cancelling_the_awaiting_task_cancels_the_generation(engine: Engine, alone: dict[str, str]) -> None:
    gate = Gate(engine, at=4)

    async def scenario() -> None:
        gen, other = engine.submit("abc", max_tokens=200), engine.submit("bcd", max_tokens=30)

        async def wait() -> str:
            return await gen

        task = asyncio.create_task(wait())
        await asyncio.sleep(0)  # it waits
        with gate:
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
        assert await other == alone["bcd"]
        gen.wait(timeout=60)
        assert gen.state == "cancelled"

    asyncio.run(scenario())


def test_an_event_loop_that_closes_leaves_the_engine_alone(engine: Engine, alone: dict[str, str]) -> None:
    gen = engine.submit("abc", max_tokens=30, draft_length=0)

    async def peek() -> None:
        async for _ in gen.stream():
            return

    asyncio.run(peek())
    assert gen.result(timeout=60) == alone["abc"]
