from __future__ import annotations

import asyncio
import threading

import pytest

from exsa_lab.errors import ConfigError, QueueFull
from exsa_lab.events import StateEvent, TokenEvent
from exsa_lab.manager import BatchManager
from exsa_lab.testing import ScriptedModel, markov, scripted_engine

LETTERS = [chr(ord("a") + i) for i in range(12)]


def model(step_s: float = 0.0) -> ScriptedModel:
    return ScriptedModel(LETTERS, markov(12, 1), step_s=step_s)


async def test_gather_over_forty_generations_gives_each_its_own_text() -> None:
    prompts = [a + b for a in LETTERS for b in LETTERS][:40]
    with scripted_engine(model(), n_seq_max=8) as engine:
        alone = [engine.generate(p, max_tokens=10).text for p in prompts]
        async with BatchManager(engine) as batch:
            texts = await asyncio.gather(*(batch.generate(p, max_tokens=10) for p in prompts))
    assert list(texts) == alone


async def test_a_stream_yields_every_event_once_from_the_first_to_the_final_state() -> None:
    with scripted_engine(model(0.001)) as engine:
        gen = engine.submit("abc", max_tokens=20)
        events = [event async for event in gen.stream()]
        again = [event async for event in gen.stream()]
    assert events == again == gen.events
    assert "".join(e.text for e in events if isinstance(e, TokenEvent)) == gen.text
    assert isinstance(events[-1], StateEvent)


async def test_awaiting_raises_what_went_wrong() -> None:
    with scripted_engine(model(), n_ctx=32) as engine, pytest.raises(ConfigError, match="empty"):
        await engine.submit("")


async def test_drain_waits_for_everything_and_an_error_in_the_block_cancels() -> None:
    with scripted_engine(model(0.002), n_seq_max=2) as engine:
        batch = BatchManager(engine)
        gens = [batch.submit("abc", max_tokens=10) for _ in range(4)]
        await batch.drain()
        assert [gen.state for gen in gens] == ["finished"] * 4
        assert batch.pending == []
        with pytest.raises(RuntimeError, match="mine"):
            await fail_in_the_block(batch := BatchManager(engine))
        assert batch.pending == []
        assert engine.generations[-1].state == "cancelled"


async def fail_in_the_block(batch: BatchManager) -> None:
    async with batch:
        batch.submit("abc", max_tokens=2000, draft_length=0)
        raise RuntimeError("mine")


async def test_a_full_queue_is_refused_with_a_clear_line() -> None:
    with scripted_engine(model(0.01), n_seq_max=2, max_waiting=1) as engine:
        batch = BatchManager(engine)
        for _ in range(3):
            batch.submit("abc", max_tokens=100, draft_length=0)
        with pytest.raises(QueueFull, match="waiting or running"):
            batch.submit("abc")
        assert batch.cancel() == 3
        await batch.drain()


def test_any_thread_may_submit() -> None:
    with scripted_engine(model(), n_seq_max=4) as engine:
        expected = engine.generate("abc", max_tokens=10).text
        texts: list[str] = []
        threads = [
            threading.Thread(target=lambda: texts.append(engine.generate("abc", max_tokens=10).text)) for _ in range(12)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(timeout=60)
    assert texts == [expected] * 12
