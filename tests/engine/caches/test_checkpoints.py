"""Saved states: where they are kept, which are given up, and that texts of recurrent models do not depend on them."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from exsa_lab.engine.caches.checkpoints import EVERY, LEAST, Checkpoint, Checkpoints, checkpoint_places
from exsa_lab.engine.caches.operations import Restore, Save, Share, Truncate
from exsa_lab.engine.engine import Engine
from exsa_lab.engine.kv_slots import SlotTable
from exsa_lab.engine.loop import Loop
from exsa_lab.errors import DecodeError
from exsa_lab.runtime.protocol import State
from exsa_lab.runtime.scripted import Entry
from exsa_lab.testing import ScriptedContext, ScriptedModel, markov, scripted_engine

LETTERS = "abcdefghijkl"
END = 12


def model(seed: int = 1, *, max_rollback: int, sharpness: float = 2.0) -> ScriptedModel:
    inner = markov(12, seed, sharpness=sharpness)
    pieces = [*LETTERS, "."]
    return ScriptedModel(pieces, lambda tokens: [*inner(tokens), 0.0], ends=[END], max_rollback=max_rollback)  # type: ignore[misc]


def expected(prompt: str, count: int) -> str:
    probs, tokens = markov(12, 1, sharpness=2.0), tuple(LETTERS.index(c) for c in prompt)
    for _ in range(count):
        tokens += (int(np.argmax(probs(tokens))),)
    return "".join(LETTERS[t] for t in tokens[len(prompt) :])


# Places


def test_a_short_prompt_is_not_worth_a_state() -> None:
    assert checkpoint_places([0] * LEAST, lambda _: False) == []


def test_states_are_kept_at_message_ends_and_before_the_last_token() -> None:
    prompt = [0] * 300
    prompt[99] = prompt[110] = prompt[199] = END
    assert checkpoint_places(prompt, lambda token: token == END) == [100, 200, 299]


def test_places_at_the_end_of_a_prompt_come_ever_closer_to_it() -> None:
    assert checkpoint_places([0] * 1001, lambda _: False, with_tail=True) == [512, 744, 872, 936, 968, 1000]
    assert checkpoint_places([0] * 201, lambda _: False, with_tail=True) == [72, 136, 168, 200]
    prompt = [0] * 201
    prompt[139] = END  # the end of a message is worth more than a place close to it
    assert checkpoint_places(prompt, lambda token: token == END, with_tail=True) == [72, 140, 200]


@given(st.integers(65, 3000), st.integers(1, 256))
@example(546, 34)
def test_a_prompt_that_parts_near_the_end_reads_at_most_twice_as_much_again(length: int, distance: int) -> None:
    last = length - 1
    parts_at = last - distance
    before = max((place for place in checkpoint_places([0] * length, lambda _: False, with_tail=True)
                  if place <= parts_at), default=0)  # fmt: skip
    assert parts_at - before < max(64, distance) or before == 0


@given(length=st.integers(0, 4 * EVERY), ends=st.sets(st.integers(0, 4 * EVERY)))
def test_places_are_in_order_and_not_far_apart(length: int, ends: set[int]) -> None:
    places = checkpoint_places(range(length), lambda token: token in ends)
    gaps = [after - before for before, after in zip([0, *places], places, strict=False)]
    assert all(gap > 0 for gap in gaps)
    assert all(LEAST <= gap <= EVERY for gap in gaps[:-1])
    assert not places or places[-1] == length - 1


# The budget


def filled(checkpoints: Checkpoints, tokens: list[int], size: int = 100) -> Checkpoint:
    checkpoint = checkpoints.add(tokens)
    assert checkpoint is not None
    checkpoints.fill(checkpoint, np.zeros(size, np.uint8))
    return checkpoint


def test_the_least_recently_used_state_is_given_up() -> None:
    checkpoints = Checkpoints(max_bytes=250)
    one, two = filled(checkpoints, [1]), filled(checkpoints, [2])
    checkpoints.touch(one)
    filled(checkpoints, [3])
    assert checkpoints.prefixes([1, 9], most=1) == [one]
    assert checkpoints.prefixes([2, 9], most=1) == []
    assert two.state is not None
    assert checkpoints.num_bytes <= 250


def test_the_tokens_take_what_the_budget_counts_for_them() -> None:
    """Not a Python integer each, which the prompt took with it otherwise."""
    checkpoints = Checkpoints(max_bytes=1 << 30)
    tracemalloc.start()
    before, _ = tracemalloc.get_traced_memory()
    filled(checkpoints, list(range(100_000, 200_000)))
    taken = tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()
    assert 400_000 < checkpoints.num_bytes < taken < 1.2 * checkpoints.num_bytes


def test_a_state_above_the_budget_is_not_kept() -> None:
    checkpoints = Checkpoints(max_bytes=50)
    filled(checkpoints, [1])
    assert checkpoints.num_bytes == len(checkpoints) == 0


@pytest.mark.parametrize("state", [None, np.zeros(9, np.uint8)])
def test_a_state_whose_room_another_of_its_step_took_is_not_kept(state: State | None) -> None:
    checkpoints = Checkpoints(max_bytes=50)
    checkpoint = checkpoints.add([1] * 10)
    assert checkpoint is not None
    filled(checkpoints, [2])
    checkpoints.fill(checkpoint, state)
    assert len(checkpoints) == 0


def test_a_state_that_is_there_is_not_kept_twice() -> None:
    checkpoints = Checkpoints(max_bytes=250)
    filled(checkpoints, [1, 2])
    assert checkpoints.add([1, 2]) is None


def test_prefixes_come_longest_first_and_only_filled_ones() -> None:
    checkpoints = Checkpoints(max_bytes=10_000)
    short, long = filled(checkpoints, [1]), filled(checkpoints, [1, 2, 3])
    checkpoints.add([1, 2])
    assert checkpoints.prefixes([1, 2, 3, 4], most=3) == [long, short]
    assert checkpoints.prefixes([1, 2, 3, 4], most=2) == [short]
    assert checkpoints.prefixes([2, 2, 3, 4], most=3) == []


def test_large_states_leave_no_room_for_those_that_may_never_be_used() -> None:
    checkpoints = Checkpoints(max_bytes=64 * 1004)
    assert checkpoints.have_room
    filled(checkpoints, [1], 1000)
    assert checkpoints.have_room
    filled(checkpoints, [2], 1001)
    assert not checkpoints.have_room


# The slot table


def table(max_rollback: int, *, n_slots: int = 3, need_no_cells: bool = False) -> SlotTable:
    return SlotTable(
        n_slots,
        100,
        max_cached=100,
        max_rollback=max_rollback,
        checkpoints=Checkpoints(10_000),
        need_no_cells=need_no_cells,
    )


def save(slots: SlotTable, index: int) -> Checkpoint:
    slots.save(index)
    operation = slots.take_operations()[-1]
    assert isinstance(operation, Save)
    slots.checkpoints.fill(operation.checkpoint, np.zeros(10, np.uint8))
    return operation.checkpoint


def test_a_prompt_goes_on_in_the_slot_that_ends_where_it_begins() -> None:
    slots = table(0)
    index = slots.acquire([1, 2, 3])
    slots.extend(index, [1, 2, 3])
    slots.release(index, keep=True)
    assert slots.num_uncached([1, 2, 3, 4]) == 1
    assert slots.num_uncached([1, 2, 9]) == 3
    assert slots.acquire([1, 2, 3, 4]) == index
    assert slots.take_operations() == []


def test_a_prompt_that_branches_off_goes_on_from_a_checkpoint() -> None:
    slots = table(0)
    index = slots.acquire([1, 2, 3])
    slots.extend(index, [1, 2])
    checkpoint = save(slots, index)
    slots.extend(index, [3])
    slots.release(index, keep=True)
    other = slots.acquire([1, 2, 9])
    assert slots.tokens(other) == [1, 2]
    assert slots.take_operations() == [Share(index, other, 2, 0), Restore(other, checkpoint)]


def test_a_state_needs_the_cells_of_its_tokens_where_there_is_attention() -> None:
    for need_no_cells in (False, True):
        slots = table(0, need_no_cells=need_no_cells)
        index = slots.acquire([1, 2, 3])
        slots.extend(index, [1, 2])
        checkpoint = save(slots, index)
        slots.release(index, keep=False)
        slots.take_operations()
        assert slots.num_uncached([1, 2, 3]) == (1 if need_no_cells else 3)
        other = slots.acquire([1, 2, 3])
        assert slots.take_operations() == ([Restore(other, checkpoint)] if need_no_cells else [])


def test_a_slot_whose_roll_back_is_pending_is_not_copied() -> None:
    slots = table(4)
    index = slots.acquire([1, 2, 3])
    slots.extend(index, [1, 2, 3, 7, 8])
    slots.truncate(index, 3)
    assert slots.num_uncached([1, 2, 3, 4]) == 4
    slots.extend(index, [4])
    assert slots.num_uncached([1, 2, 3, 4, 5]) == 1


def test_what_cannot_be_taken_back_goes_to_the_last_checkpoint_or_to_nothing() -> None:
    slots = table(2)
    index = slots.acquire([1, 2, 3, 4])
    slots.extend(index, [1, 2])
    checkpoint = save(slots, index)
    slots.extend(index, [3, 4, 5])
    slots.truncate(index, 3)  # two tokens of the last decode
    assert slots.take_operations() == [Truncate(index, 3)]
    slots.truncate(index, 2)  # one more, while that is pending
    assert slots.take_operations() == [Restore(index, checkpoint)]
    slots.extend(index, [3])
    slots.truncate(index, 1)
    assert slots.take_operations() == [Truncate(index, 0)]


# The engine


@pytest.mark.parametrize("max_rollback", [1, 3, 8])
@pytest.mark.parametrize("drafter", ["model", "ngram"])
def test_drafts_are_as_long_as_the_memory_takes_back(max_rollback: int, drafter: str) -> None:
    with scripted_engine(model(max_rollback=max_rollback), model(2, max_rollback=0)) as engine:
        gen = engine.generate("abcabcab", max_tokens=60, draft_length=6, drafter=drafter)
        assert gen.text == expected("abcabcab", 60)
        assert gen.stats.drafted_tokens > 0
        assert engine.status().max_draft_length == max_rollback
    rejected_or_taken = [event.k for event in gen.events if hasattr(event, "k")]
    assert max(rejected_or_taken) == min(6, max_rollback)


@settings(max_examples=40, deadline=None)
@given(
    prompts=st.lists(st.text(LETTERS, min_size=1, max_size=140), min_size=1, max_size=9),
    beginning=st.text(LETTERS, max_size=140),
    lengths=st.lists(st.integers(0, 5), min_size=9, max_size=9),
    drafters=st.lists(st.sampled_from(["model", "ngram", "auto"]), min_size=9, max_size=9),
    max_rollback=st.sampled_from([0, 1, 4]),
    n_ctx=st.sampled_from([300, 2048]),
)
def test_recurrent_texts_depend_on_nobody(
    prompts: list[str], beginning: str, lengths: list[int], drafters: list[str], max_rollback: int, n_ctx: int
) -> None:
    """Shared beginnings, checkpoints, drafts and preemption: each text is the one it has alone."""
    target, draft = model(max_rollback=max_rollback), model(2, max_rollback=0, sharpness=2.5)
    with scripted_engine(target, draft, n_seq_max=3, n_ctx=n_ctx, step_tokens=40) as engine:
        texts = [beginning * (i % 2) + prompt for i, prompt in enumerate(prompts)]
        settings = [{"draft_length": k, "drafter": drafter} for k, drafter in zip(lengths, drafters, strict=True)]
        gens = [engine.submit(text, max_tokens=12, **params) for text, params in zip(texts, settings, strict=False)]
        for text, gen in zip(texts, gens, strict=True):
            assert gen.result(timeout=60) == expected(text, 12)
        assert engine.status().slots_used == 0
        engine.forget_texts()
        assert engine.call(num_kept) == [0, 0, 0, 0]


def num_kept(loop: Loop) -> list[int]:
    """Cells by the table and in the caches of target and draft, spare slots included, and saved states."""
    context, drafter = loop.context, loop.drafting.model_drafter
    assert isinstance(context, ScriptedContext)
    in_draft = 0
    if drafter is not None:  # a target that takes nothing back has none
        assert isinstance(drafter.context, ScriptedContext)
        in_draft = drafter.context.num_cells_used
    return [loop.slots.num_cells_used, context.num_cells_used, in_draft, len(loop.slots.checkpoints)]


def test_a_second_request_goes_on_from_the_end_of_the_first_ones_prompt() -> None:
    prompt = "abcdefgh" * 20
    with scripted_engine(model(max_rollback=0)) as engine:
        first, second = (engine.generate(prompt, max_tokens=20) for _ in range(2))
        longer = engine.generate(prompt + "abc", max_tokens=20)
        answered = engine.generate(prompt + first.text + "abc", max_tokens=20)
    assert first.stats.cached_prompt_tokens == 0
    assert second.stats.cached_prompt_tokens == longer.stats.cached_prompt_tokens == len(prompt) - 1
    assert second.text == first.text == expected(prompt, 20)
    assert longer.text == expected(prompt + "abc", 20)
    assert answered.stats.cached_prompt_tokens >= len(prompt) - 1
    assert answered.text == expected(prompt + first.text + "abc", 20)


@pytest.mark.parametrize(("kept", "num_parts"), [(512, 2), (0, 1)])
def test_where_no_states_are_kept_a_prompt_is_read_at_once(kept: int, num_parts: int) -> None:
    with scripted_engine(model(max_rollback=0), prefix_cache_tokens=kept) as engine:
        gen = engine.generate("abcdefgh" * 10, max_tokens=5)
    assert len(engine.steps) == num_parts + 4
    assert gen.text == expected("abcdefgh" * 10, 5)


def fail_once(engine: Engine, culprit: str) -> None:
    """Let every decode fail that has this letter."""
    token = LETTERS.index(culprit)

    def before(entries: list[Entry]) -> None:
        if any(entry[2] == token for entry in entries):
            raise DecodeError("scripted failure.")

    engine.call(lambda loop: setattr(loop.context, "before_decode", before))


def test_a_failed_decode_costs_states_but_no_texts() -> None:
    """Whatever the memory held is undefined then; all but the culprit are computed anew."""
    with scripted_engine(model(max_rollback=3), n_seq_max=4) as engine:
        healthy = ["ab" * 40, "ba" * 50]
        unsaid = next(c for c in LETTERS if all(c not in text + expected(text, 30) for text in healthy))
        fail_once(engine, unsaid)
        gens = [engine.submit(text, max_tokens=30, draft_length=2, drafter="ngram") for text in healthy]
        culprit = engine.submit("ab" * 30 + unsaid, max_tokens=30)
        for text, gen in zip(healthy, gens, strict=True):
            assert gen.result(timeout=60) == expected(text, 30)
        assert culprit.wait(60)
        assert culprit.state == "failed"
        assert "scripted failure" in str(culprit.error)
        assert engine.generate(healthy[0] + "b", max_tokens=10).text == expected(healthy[0] + "b", 10)


def test_a_state_that_is_refused_is_computed_again() -> None:
    prompt = "abcdefgh" * 20
    with scripted_engine(model(max_rollback=0)) as engine:
        engine.generate(prompt, max_tokens=5)

        def refuse(slot: int, state: object, length: int) -> None:
            raise DecodeError("scripted refusal.")

        engine.call(lambda loop: setattr(loop.context, "restore", refuse))
        gen = engine.generate(prompt + "b", max_tokens=10)
    assert gen.text == expected(prompt + "b", 10)
