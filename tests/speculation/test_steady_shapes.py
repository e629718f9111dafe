"""The engine where a change of the batch's shape is dear: shapes stay, and padding is noticed by nobody."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import pytest

from exsa_lab.config import EngineConfig
from exsa_lab.costs.model import CostModel
from exsa_lab.engine.assembly import Models
from exsa_lab.engine.engine import Engine
from exsa_lab.events import RejectedEvent, RoundEvent
from exsa_lab.testing import Entry, ScriptedContext, ScriptedModel, markov, scripted_engine
from tests.speculation.simulator import GRAPHS, GRAPHS_SWITCH

LETTERS = list("abcdefghijklmnop")
PROMPTS = ["abcd", "bcda", "cdab", "dabc"]


def models() -> tuple[ScriptedModel, ScriptedModel]:
    """A draft that is mostly right: it differs from the target where two letters are alike."""
    probs, other = markov(16, seed=1, sharpness=5), markov(16, seed=2, sharpness=5)
    draft = ScriptedModel(LETTERS, lambda tokens: other(tokens) if tokens[-1] % 7 == 3 else probs(tokens))
    return ScriptedModel(LETTERS, probs), draft


@pytest.fixture
def engine() -> Iterator[Engine]:
    costs = CostModel.from_measurements(*GRAPHS, switch_seconds=GRAPHS_SWITCH)
    # Scripted decodes take no such times: what was measured is kept.
    costs.observe = lambda *_: None  # type: ignore[method-assign]
    config = EngineConfig(n_ctx=2048, n_seq_max=4)
    with Engine(lambda progress: Models(*models(), costs=costs), config) as engine:
        yield engine


def watch(engine: Engine, which: str) -> list[list[Entry]]:
    """The batches of the target or the draft from now on."""
    seen: list[list[Entry]] = []

    def install(context: ScriptedContext) -> None:
        context.before_decode = seen.append

    engine.call(lambda loop: install(loop.context if which == "target" else loop.drafting.model_drafter.context))  # type: ignore[arg-type, union-attr]
    return seen


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_texts_are_those_of_plain_decoding(engine: Engine, temperature: float) -> None:
    """With a temperature, what a model drafts changes the text; what the padding adds must not change its validity."""
    gens = [engine.submit(prompt, max_tokens=50, temperature=temperature, seed=1) for prompt in PROMPTS]
    texts = [gen.result(timeout=20) for gen in gens]
    assert all(len(text) == 50 for text in texts)
    if temperature == 0:
        with scripted_engine(models()[0]) as plain:
            assert texts == [plain.generate(p, max_tokens=50, draft_length=0).text for p in PROMPTS]


def test_the_batches_keep_their_shape(engine: Engine) -> None:
    target, draft = watch(engine, "target"), watch(engine, "draft")
    gen = engine.generate("abcd", max_tokens=300, drafter="model")
    assert gen.stats.drafted_tokens > 0
    assert gen.stats.accepted_tokens > 0
    sizes = [len(entries) for entries in target[1:]]
    assert sum(a != b for a, b in itertools.pairwise(sizes)) <= 6
    assert sizes[-1] == sizes[-2]  # the last round too, in which only a shorter draft can be used
    assert {len(entries) for entries in draft[1:]} == {1}


def test_sequences_in_lockstep_give_the_draft_one_shape(engine: Engine) -> None:
    draft = watch(engine, "draft")
    gens = [engine.submit(prompt, max_tokens=100, drafter="model", draft_length=3) for prompt in PROMPTS]
    with scripted_engine(models()[0]) as plain:
        for gen in gens:
            assert gen.result(timeout=20) == plain.generate(gen.prompt, max_tokens=100, draft_length=0).text
    sizes = [len(entries) for entries in draft]
    assert sum(a != b for a, b in itertools.pairwise(sizes)) < 0.2 * len(sizes)


def test_padding_is_no_draft(engine: Engine) -> None:
    """Lookup that finds nothing, and drafts cut short by the end: rounds count what was proposed."""
    gen = engine.generate("abcd" * 10, max_tokens=120)
    rounds = [event for event in gen.events if isinstance(event, RoundEvent)]
    assert any(event.batch_tokens > 1 + event.k for event in rounds)
    assert all(event.accepted <= event.k for event in rounds)
    rejected = sum(isinstance(event, RejectedEvent) for event in gen.events)
    assert sum(event.k for event in rounds) == gen.stats.drafted_tokens
    assert gen.stats.drafted_tokens == gen.stats.accepted_tokens + rejected


def test_cells_of_the_padding_are_given_back(engine: Engine) -> None:
    engine.generate("abcd", max_tokens=60)
    used = engine.call(lambda loop: loop.context.num_cells_used)  # type: ignore[attr-defined]
    assert used == engine.status().cells_used


def test_a_full_context_leaves_no_room_for_padding() -> None:
    costs = CostModel.from_measurements(*GRAPHS, switch_seconds=GRAPHS_SWITCH)
    config = EngineConfig(n_ctx=32, n_seq_max=1)
    with Engine(lambda progress: Models(*models(), costs=costs), config) as engine:
        gen = engine.generate("abcd", max_tokens=200)
        assert gen.finish_reason == "length"
        with scripted_engine(models()[0], n_ctx=32) as plain:
            assert gen.text == plain.generate("abcd", max_tokens=200, draft_length=0).text
