"""Who drafts in a step that others share: the engine on a scripted model whose texts repeat."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from exsa_lab.config import MAX_DRAFT_LENGTH, EngineConfig
from exsa_lab.engine.assembly import Models
from exsa_lab.engine.engine import Engine
from exsa_lab.engine.generation import Generation
from exsa_lab.events import DraftReason, RoundEvent
from exsa_lab.runtime.protocol import UNLIMITED
from exsa_lab.speculation.draft_length import DraftLengthPolicy
from exsa_lab.speculation.draft_plan import DraftRequest, StepPlan
from exsa_lab.testing import ScriptedModel, markov, scripted_engine
from tests.gate import Gate
from tests.speculation.simulator import MACHINES, believed
from tests.structure.vocabulary import END, PIECES

LETTERS = list("abcdefgh")
TURN = "".join(LETTERS)


def in_turn(tokens: tuple[int, ...]) -> list[float]:
    """The alphabet again and again: what lookup proposes is right."""
    return [float(letter == (tokens[-1] + 1) % len(LETTERS)) for letter in range(len(LETTERS))]


def open_engine(*, slots: int, machine: str = "2 cores Q8_0") -> Engine:
    config = EngineConfig(n_ctx=2048, n_seq_max=slots)
    costs = believed(MACHINES[machine])
    return Engine(lambda progress: Models(ScriptedModel(LETTERS, in_turn), costs=costs), config)


def rounds(gen: Generation) -> list[RoundEvent]:
    return [event for event in gen.events if isinstance(event, RoundEvent)]


def decoded_beside_a_prompt(num_waiting: int) -> Generation:
    """One of two slots decodes while the other reads a prompt and so many more wait."""
    with open_engine(slots=2) as engine:
        gate = Gate(engine, at=8)
        gen = engine.submit(TURN * 3, max_tokens=400)
        with gate:
            others = [engine.submit(TURN * 40, max_tokens=2) for _ in range(1 + num_waiting)]
        for other in [*others, gen]:
            other.result(timeout=60)
    return gen


@pytest.mark.parametrize("num_waiting", [0, 3])
def test_nothing_is_drafted_beside_a_prompt(num_waiting: int) -> None:
    gen = decoded_beside_a_prompt(num_waiting)
    found = [event for event in rounds(gen) if event.reason is DraftReason.PROMPTS]
    assert found
    assert all(event.k == 0 for event in found)
    last = found[-1].round
    assert any(event.k and event.round > last for event in rounds(gen)), "it drafts again when the prompt is read"


@pytest.mark.parametrize("drafter", ["ngram", "auto"])
def test_a_length_that_the_user_fixed_is_kept_beside_a_prompt(drafter: str) -> None:
    with open_engine(slots=2) as engine:
        gate = Gate(engine, at=8)
        gen = engine.submit(TURN * 3, max_tokens=400, draft_length=3, drafter=drafter)
        with gate:
            other = engine.submit(TURN * 40, max_tokens=2)
        for each in (other, gen):
            each.result(timeout=60)
    assert {event.k for event in rounds(gen)[1:-1]} == {3}


@pytest.mark.parametrize("max_rollback", [UNLIMITED, 8])
def test_a_seed_with_a_fixed_length_gives_the_same_text_whatever_of_its_prompt_is_cached(max_rollback: int) -> None:
    """A prompt is read up to its last token where a step or a checkpoint ends there: that token is left alone."""
    target, draft = (ScriptedModel(LETTERS, markov(len(LETTERS), seed), max_rollback=max_rollback) for seed in (1, 2))
    ask: dict[str, Any] = {"temperature": 1.0, "seed": 3, "drafter": "model", "draft_length": 4, "max_tokens": 40}
    with scripted_engine(target, draft, step_tokens=72) as engine:
        fresh, cached = (engine.generate(TURN * 9 + "a", **ask) for _ in range(2))
    assert [gen.stats.cached_prompt_tokens for gen in (fresh, cached)] == [0, 72]
    assert fresh.stats.drafted_tokens > 0
    assert fresh.text == cached.text


@pytest.mark.parametrize("slots", [1, 2])
def test_the_width_in_use_does_not_hide_what_a_wider_one_could_draft(
    slots: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[int, DraftRequest]] = []
    choose = DraftLengthPolicy.choose

    def spied(self: DraftLengthPolicy, requests: Sequence[DraftRequest], *args: Any, **given: Any) -> StepPlan:
        plan = choose(self, requests, *args, **given)
        seen.extend((plan.width, request) for request in requests)
        return plan

    monkeypatch.setattr(DraftLengthPolicy, "choose", spied)
    with open_engine(slots=slots, machine="H100") as engine:
        gens = [engine.submit(TURN * 4, max_tokens=200) for _ in range(slots)]
        for gen in gens:
            gen.result(timeout=60)
    assert any(width for width, _ in seen)
    assert all(request.limit == min(MAX_DRAFT_LENGTH, request.tokens_left - 1) for _, request in seen)


FORM = "((a|b){8}cdefgh){30}"
"""Eight places with a choice, then three tokens without one."""


def first_letters(tokens: tuple[int, ...]) -> list[float]:
    """Best of all an "a": lookup is right about the places where there is a choice."""
    return [0.87 if token == 0 else 0.01 for token in range(len(PIECES))]


@pytest.mark.parametrize("slots", [1, 3])
def test_forced_tokens_take_the_free_places_of_a_batch_that_keeps_its_shape(slots: int) -> None:
    config = EngineConfig(n_ctx=2048, n_seq_max=slots)
    costs = believed(MACHINES["H100"])
    assert costs.has_costly_shapes
    with Engine(
        lambda progress: Models(ScriptedModel(PIECES, first_letters, ends=[END]), costs=costs), config
    ) as engine:
        gate = Gate(engine, at=4)
        first = engine.submit("a", max_tokens=300, regex=FORM)
        with gate:
            gens = [first, *(engine.submit("a", max_tokens=300, regex=FORM) for _ in range(slots - 1))]
        texts = [gen.result(timeout=60) for gen in gens]
        steps = [step for step in engine.steps if not step.prefill_tokens]
    assert {text[:28] for text in texts} == {"aaaaaaaacdefgh" * 2}
    wide = [step for step in steps if step.sequences == slots and step.tokens > slots]
    shapes = [step.tokens for step in wide]
    others = [shape for shape in shapes if shape not in (slots * 4, slots * 8, slots * 16)]
    assert len(shapes) > 8
    assert len(others) < len(shapes) / 8, shapes
    assert sum(gen.stats.forced_tokens for gen in gens) > 8 * slots


def test_where_shapes_are_costly_tokens_without_a_choice_change_no_number_of_outputs() -> None:
    """Those that a sequence catches up with need no logits, but a batch with fewer of them is another shape."""
    costs, outputs = believed(MACHINES["H100"]), []
    with Engine(
        lambda progress: Models(ScriptedModel(PIECES, first_letters, ends=[END]), costs=costs),
        EngineConfig(n_ctx=2048, n_seq_max=3),
    ) as engine:
        batch = type(engine.call(lambda loop: loop.context.new_batch()))
        add = batch.add

        def counted(self: Any, tokens: list[int], *place: int) -> int:
            outputs.append((len(tokens), place[-1]))
            return int(add(self, tokens, *place))

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(batch, "add", counted)
            gens = [engine.submit("a", max_tokens=100, regex=FORM) for _ in range(3)]
            for gen in gens:
                gen.result(timeout=60)
    assert sum(gen.stats.forced_tokens for gen in gens) > 8
    assert all(tokens == num for tokens, num in outputs[3:])
