"""Greedy output with drafts, and in a full batch, is the plain output, token for token but for near ties.

Here each of the fifty prompts is run with one draft length; `python -m exsa_lab.bench equivalence` runs them all, and
says what rounding depends on.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from exsa_lab.bench.equivalence import ALONE, all_at_once
from exsa_lab.bench.setting import Options, chat_tokens, subjects
from exsa_lab.engine.engine import Engine
from tests.reference import VARIED, BareRun, Divergence, divergences, reference_runs

pytestmark = pytest.mark.real

MAX_TOKENS = 128
DRAFT_LENGTHS = range(1, 7)
ALLOWED = 5
"""Of fifty."""
NEAR_TIE = 0.75
"""Largest margin between the two best logits that rounding has been seen to turn over, with room."""


@pytest.fixture(scope="module")
def alone() -> Iterator[Engine]:
    with subjects(Options())[0].open_engine(**ALONE) as engine:
        yield engine


@pytest.fixture(scope="module")
def expected(alone: Engine) -> list[BareRun]:
    return reference_runs([chat_tokens(alone, prompt) for prompt in VARIED], MAX_TOKENS)


def report(expected: list[BareRun], outputs: list[list[int]]) -> list[Divergence]:
    found = list(divergences(expected, outputs))
    for one in found:
        print(f"prompt {one.prompt} differs at token {one.position}, where the top-2 margin is {one.margin:.4f}")
    return found


def test_plain_output_is_that_of_llama_cpp_alone(alone: Engine, expected: list[BareRun]) -> None:
    """The same shapes, so there is no rounding to excuse anything."""
    for number in (0, 17, 33):
        assert alone.generate(VARIED[number], max_tokens=32, draft_length=0).tokens == expected[number].tokens[:32]


def test_drafts_of_every_length_leave_greedy_output_as_it_is(alone: Engine, expected: list[BareRun]) -> None:
    lengths = [DRAFT_LENGTHS[i % len(DRAFT_LENGTHS)] for i in range(len(VARIED))]
    generations = [
        alone.generate(prompt, max_tokens=MAX_TOKENS, drafter="model", draft_length=k)
        for prompt, k in zip(VARIED, lengths, strict=True)
    ]
    assert sum(generation.stats.accepted_tokens for generation in generations) > 500
    found = report(expected, [generation.tokens for generation in generations])
    assert len(found) <= ALLOWED, found
    assert all(one.margin < NEAR_TIE for one in found), found


def test_a_full_batch_leaves_greedy_output_as_it_is(expected: list[BareRun]) -> None:
    with subjects(Options(draft="none"))[0].open_engine() as engine:
        found = report(expected, all_at_once(engine, VARIED, MAX_TOKENS))
        assert max(step.sequences for step in engine.steps) == 16
    assert len(found) <= ALLOWED, found
    assert all(one.margin < NEAR_TIE for one in found), found
