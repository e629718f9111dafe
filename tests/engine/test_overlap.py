"""Where a device computes by itself: what a round has to tell is told during the next decode, and nothing is lost."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from exsa_lab.config import EngineConfig
from exsa_lab.engine.assembly import Models
from exsa_lab.engine.engine import Engine
from exsa_lab.errors import GenerationCancelled, OutOfMemory
from exsa_lab.events import Event, RoundEvent, State, StateEvent, TokenEvent
from exsa_lab.runtime.protocol import DecodeAborted
from exsa_lab.testing import Entry, ScriptedModel, markov, scripted_engine
from tests.gate import Gate, held
from tests.speculation.simulator import MACHINES, believed

LETTERS = list("abcdefghijklmnop")


PROMPTS = ["abcd", "bcda", "cdab", "dabc" * 8]


def models(*, is_asynchronous: bool) -> tuple[ScriptedModel, ScriptedModel]:
    probs, other = markov(16, seed=1, sharpness=5), markov(16, seed=2, sharpness=5)
    draft = ScriptedModel(
        LETTERS,
        lambda tokens: other(tokens) if tokens[-1] % 7 == 3 else probs(tokens),
        is_asynchronous=is_asynchronous,
    )
    return ScriptedModel(LETTERS, probs, is_asynchronous=is_asynchronous), draft


def open_engine(*, is_asynchronous: bool, steady: bool = False) -> Engine:
    costs = believed(MACHINES["H100"]) if steady else None
    config = EngineConfig(n_ctx=2048, n_seq_max=4)
    return Engine(lambda progress: Models(*models(is_asynchronous=is_asynchronous), costs=costs), config)


@pytest.fixture
def engine() -> Iterator[Engine]:
    with open_engine(is_asynchronous=True) as engine:
        yield engine


def told(events: list[Event]) -> list[object]:
    """Events without their times, and without the probabilities that a GPU does not compute unasked."""
    kept: list[object] = []
    for event in events:
        if isinstance(event, TokenEvent):
            kept.append((event.position, event.token_id, event.text, event.source, event.round, event.drafter))
        elif isinstance(event, RoundEvent):
            kept.append((event.round, event.k, event.accepted, event.reason))
        elif isinstance(event, StateEvent):
            kept.append((event.state, event.detail))
        else:
            kept.append(type(event))
    return kept


@pytest.mark.parametrize(
    "settings",
    [
        {"draft_length": 0},
        {"draft_length": 3},
        {"draft_length": 3, "drafter": "ngram"},
        {"draft_length": 3, "temperature": 1.0, "seed": 1},
        {"stop": ("pa", "cb")},
    ],
)
def test_the_same_is_told_in_the_same_order(settings: dict[str, object]) -> None:
    found = []
    for is_asynchronous in (False, True):
        with open_engine(is_asynchronous=is_asynchronous) as engine:
            gens = [engine.submit(prompt, max_tokens=40, **settings) for prompt in PROMPTS]
            texts = [gen.result(timeout=60) for gen in gens]
            found.append((texts, [told(gen.events) for gen in gens], [gen.tokens for gen in gens]))
            assert all(gen.stats.generated_tokens == len(gen.tokens) for gen in gens)
    assert found[0] == found[1]


@pytest.mark.parametrize("temperature", [0.0, 1.0])
@pytest.mark.parametrize("drafter", ["auto", "model", "ngram"])
def test_drafts_of_a_kept_shape_change_no_text(temperature: float, drafter: str) -> None:
    """Greedy texts are those of plain decoding; sampled ones are whole."""
    with open_engine(is_asynchronous=True, steady=True) as engine:
        gens = [engine.generate(p, max_tokens=80, drafter=drafter, temperature=temperature, seed=2) for p in PROMPTS]
    assert all(len(gen.text) == 80 for gen in gens)
    if temperature == 0:
        with scripted_engine(models(is_asynchronous=False)[0]) as plain:
            assert [gen.text for gen in gens] == [
                plain.generate(p, max_tokens=80, draft_length=0).text for p in PROMPTS
            ]


def test_a_round_is_told_while_the_next_is_computed(engine: Engine) -> None:
    seen: list[int] = []
    gen = engine.submit("abcd", max_tokens=200, draft_length=0)
    gen.subscribe(lambda events: seen.append(sum(isinstance(event, TokenEvent) for event in events)), inline=True)
    gen.result(timeout=60)
    assert sum(seen) == 200
    records = engine.call(lambda loop: list(loop.reporter.steps))
    assert sum(record.committed_tokens for record in records) == 200


def test_a_call_between_steps_sees_everything_told(engine: Engine) -> None:
    gen = engine.submit("abcd", max_tokens=400, draft_length=0)
    while not gen.state.is_final:
        lengths = engine.call(lambda loop: [(len(s.generation.tokens), s.num_generated) for s in loop.sequences])
        assert all(told == generated for told, generated in lengths)
    assert len(gen.tokens) == 400


def test_cancelling_keeps_what_was_committed(engine: Engine) -> None:
    gate = Gate(engine, at=8)
    gen = engine.submit("abcd", max_tokens=400, draft_length=0)
    with gate:
        gen.cancel()
    with pytest.raises(GenerationCancelled):
        gen.result(timeout=60)
    assert isinstance(gen.events[-1], StateEvent)
    assert gen.events[-1].state is State.CANCELLED
    assert "".join(event.text for event in gen.events if isinstance(event, TokenEvent)) == gen.text
    assert 5 < len(gen.tokens) == gen.stats.generated_tokens < 10


@pytest.mark.parametrize("error", [OutOfMemory("full"), DecodeAborted()])
def test_a_decode_that_fails_loses_nothing(engine: Engine, error: Exception) -> None:
    """Out of memory ends the culprit with all its tokens told; an aborted decode is simply done again."""
    count = 0

    def fail_once(entries: list[Entry]) -> None:
        nonlocal count
        count += 1
        if count == 20:
            raise error

    engine.call(lambda loop: setattr(loop.context, "before_decode", fail_once))
    gen = engine.submit("abcd", max_tokens=40, draft_length=0)
    gen.wait(timeout=60)
    with scripted_engine(models(is_asynchronous=False)[0]) as plain:
        text = plain.generate("abcd", max_tokens=40, draft_length=0).text
    if isinstance(error, OutOfMemory):
        assert gen.state is State.FAILED
        assert len(gen.tokens) == 19
        assert gen.text == text[:19]
    else:
        assert gen.text == text


def test_probabilities_are_computed_where_somebody_looks(engine: Engine) -> None:
    def of(events: list[Event]) -> set[bool]:
        return {event.p is None for event in events if isinstance(event, TokenEvent) and event.round}

    assert of(engine.generate("abcd", max_tokens=20, draft_length=3).events) == {True}
    with held(engine):
        gen = engine.submit("abcd", max_tokens=20, draft_length=3)
        gen.subscribe(lambda events: None)
    gen.result(timeout=60)
    assert False in of(gen.events)
