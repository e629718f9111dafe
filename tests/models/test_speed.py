"""What is computed while speed is measured, and that the cache is as it was."""

from __future__ import annotations

from exsa_lab.config import EngineConfig
from exsa_lab.models.speed import CONTEXT, PROMPT, STEPS, prepare, prompt_seconds, step_seconds
from exsa_lab.testing import Entry, ScriptedContext, ScriptedModel


def opened() -> tuple[ScriptedContext, list[list[Entry]]]:
    batches: list[list[Entry]] = []
    model = ScriptedModel("ab", lambda tokens: [0.5, 0.5])
    context = model.open_context(EngineConfig(n_ctx=512, n_seq_max=4, n_batch=100, n_ubatch=100), 1)
    context.before_decode = batches.append
    return context, batches


def test_each_sequence_gets_a_context_of_its_own() -> None:
    context, batches = opened()
    prepare(context, 3)
    assert [len(context.tokens(slot)) for slot in range(4)] == [CONTEXT, CONTEXT, CONTEXT, 0]
    assert len(batches) == 1
    prepare(context, 0)
    assert context.num_cells_used == 0


def test_a_prompt_is_read_whole_in_batches_from_nothing() -> None:
    context, batches = opened()
    prepare(context, 2)
    batches.clear()
    assert prompt_seconds(context) > 0
    assert [len(batch) for batch in batches] == [100, 100, PROMPT - 200]
    assert len(context.tokens(0)) == PROMPT
    assert not context.tokens(1)


def test_a_step_is_one_token_of_each_and_is_taken_back() -> None:
    context, batches = opened()
    prepare(context, 3)
    batches.clear()
    assert step_seconds(context, 3) > 0
    assert [len(batch) for batch in batches] == [3] * STEPS
    assert [len(context.tokens(slot)) for slot in range(3)] == [CONTEXT] * 3


def test_steps_of_recurrent_memory_leave_the_cache_as_it_was_too() -> None:
    model = ScriptedModel("ab", lambda tokens: [0.5, 0.5], max_rollback=8)
    context = model.open_context(EngineConfig(n_ctx=512, n_seq_max=4), 1)
    prepare(context, 2)
    for _ in range(2):
        assert step_seconds(context, 2) > 0
        assert [len(context.tokens(slot)) for slot in range(3)] == [CONTEXT, CONTEXT, 0]
