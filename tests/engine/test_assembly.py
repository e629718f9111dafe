"""From models to a loop; a loop that cannot be put together leaves nothing open."""

from __future__ import annotations

import pytest

from exsa_lab.config import EngineConfig
from exsa_lab.costs.model import CostModel
from exsa_lab.engine.assembly import Models, assemble
from exsa_lab.errors import OutOfMemory
from exsa_lab.models.memory import MAX_SLOTS, SLOTS_PER_SEQUENCE
from exsa_lab.runtime.protocol import UNLIMITED
from exsa_lab.testing import ScriptedContext, ScriptedModel


def model(*, max_rollback: int = UNLIMITED) -> ScriptedModel:
    return ScriptedModel("ab", lambda tokens: [0.5, 0.5], max_rollback=max_rollback)


def test_each_sequence_gets_several_slots_and_the_draft_the_same() -> None:
    loop = assemble(Models(model(), model()), EngineConfig(n_ctx=256, n_seq_max=3))
    assert loop.context.n_seq_max == 3 * SLOTS_PER_SEQUENCE
    assert loop.drafting.model_drafter is not None
    assert loop.drafting.model_drafter.context.n_seq_max == loop.context.n_seq_max
    many = assemble(Models(model()), EngineConfig(n_ctx=256, n_seq_max=200, reproducible=True))
    assert many.context.n_seq_max == MAX_SLOTS + 1


def test_a_model_that_cannot_roll_back_gets_no_draft_and_a_note() -> None:
    models = Models(model(max_rollback=0), model())
    loop = assemble(models, EngineConfig(n_ctx=256, n_seq_max=3))
    assert loop.drafting.model_drafter is None
    assert loop.context.n_seq_max == 3 + EngineConfig().cached_states
    assert "cannot roll back" in models.notes[0]
    assert models.draft is None


def test_known_costs_are_kept_and_none_are_measured_without_facts() -> None:
    known = CostModel.from_measurements({1: 1.0, 8: 2.0})
    models = Models(model(), costs=known)
    assert assemble(models, EngineConfig(n_ctx=256)).drafting.costs is known
    assert assemble(Models(model()), EngineConfig(n_ctx=256)).drafting.costs is None


def test_what_was_opened_is_closed_where_the_draft_does_not_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    target, draft = model(), model()
    opened: list[ScriptedContext] = []
    open_context = target.open_context

    def remember(*args: object, **options: object) -> ScriptedContext:
        opened.append(open_context(*args, **options))  # type: ignore[arg-type]
        return opened[-1]

    def fail(*args: object, **options: object) -> ScriptedContext:
        raise OutOfMemory("no room for the draft.")

    monkeypatch.setattr(target, "open_context", remember)
    monkeypatch.setattr(draft, "open_context", fail)
    with pytest.raises(OutOfMemory):
        assemble(Models(target, draft), EngineConfig(n_ctx=256))
    assert [context.is_closed for context in opened] == [True]
    assert target.is_closed
    assert draft.is_closed
