"""Small batches keep few sizes, and what pads them leaves no trace."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from exsa_lab.config import EngineConfig
from exsa_lab.costs.measure import measure_costs
from exsa_lab.models.resolve import resolve
from exsa_lab.runtime.batch import LlamaBatch
from exsa_lab.runtime.context import LlamaContext
from exsa_lab.runtime.model import LlamaModel
from exsa_lab.runtime.steady import SIZES, STEPS_TO_RECORD, steady_size


@pytest.mark.parametrize(("num_tokens", "size"), [(1, 1), (2, 2), (3, 4), (4, 4), (5, 8), (8, 8), (9, 9), (64, 64)])
def test_a_small_batch_gets_the_next_size_and_a_large_one_is_left_alone(num_tokens: int, size: int) -> None:
    assert steady_size(num_tokens) == size


def test_one_size_for_all_where_texts_must_not_depend_on_drafts() -> None:
    assert {steady_size(n, SIZES[-1]) for n in range(1, 9)} == {SIZES[-1]}
    assert steady_size(9, SIZES[-1]) == 9


@given(st.integers(1, 20), st.sampled_from(SIZES))
def test_a_batch_always_fits(num_tokens: int, smallest: int) -> None:
    size = steady_size(num_tokens, smallest)
    assert size >= num_tokens
    if num_tokens <= SIZES[-1]:
        assert size in SIZES
        assert size >= smallest
    else:
        assert size == num_tokens


# With llama.cpp


@pytest.fixture(scope="module")
def model() -> Iterator[LlamaModel]:
    opened = LlamaModel(resolve("smollm2-135m-draft").path, EngineConfig())
    yield opened
    opened.close()


def _open(model: LlamaModel, *, smallest: int, n_ctx: int = 512) -> LlamaContext:
    config = EngineConfig(n_ctx=n_ctx, n_seq_max=2)
    return LlamaContext(model._pointer, model.vocab_size, config, 1, smallest_batch=smallest)


def _decode(context: LlamaContext, batch: LlamaBatch, *entries: tuple[list[int], int, int, int]) -> np.ndarray:
    batch.clear()
    for entry in entries:
        batch.add(*entry)
    logits = context.decode(batch).copy()
    assert batch.num_tokens == sum(len(tokens) for tokens, *_ in entries)
    return logits


@pytest.mark.real
def test_padded_batches_give_the_logits_of_plain_ones(model: LlamaModel) -> None:
    padded, plain = _open(model, smallest=1), _open(model, smallest=0)
    text = [9, 400, 511, 30, 77, 1200, 88, 3, 60, 61, 62, 63]
    steps = [([text[:5], 0, 0, 1],), ([text[5:8], 5, 0, 3],), ([text[8:9], 8, 0, 1], [text[:1], 0, 1, 1])]
    steps += [([text[9:11], 9, 0, 1],), ([text[11:], 11, 0, 1],)]
    for context in (padded, plain):
        context.batch = context.new_batch()  # type: ignore[attr-defined]
    for step in steps:
        entries = [tuple(entry) for entry in step]
        found = _decode(padded, padded.batch, *entries)  # type: ignore[attr-defined, arg-type]
        wanted = _decode(plain, plain.batch, *entries)  # type: ignore[attr-defined, arg-type]
        assert found.shape == wanted.shape
        assert np.allclose(found, wanted, atol=2e-2), "companions may change the rounding, no more"
    padded.close()
    plain.close()


@pytest.mark.real
def test_padding_gives_way_where_the_cache_is_full(model: LlamaModel) -> None:
    context = _open(model, smallest=8, n_ctx=256)
    batch = context.new_batch()
    _decode(context, batch, (list(range(100, 354)), 0, 0, 1))
    assert _decode(context, batch, ([5], 254, 0, 1)).shape == (1, model.vocab_size)
    assert _decode(context, batch, ([6], 255, 0, 1)).shape == (1, model.vocab_size)
    context.close()


@pytest.mark.real
def test_costs_are_measured_once_a_shape_is_steady(model: LlamaModel, monkeypatch: pytest.MonkeyPatch) -> None:
    context = _open(model, smallest=1)
    shapes: list[int] = []
    decode = context._lib.llama_decode

    class Spy:
        def __getattr__(self, name: str) -> object:
            return getattr(library, name)

        def llama_decode(self, pointer: object, struct: object) -> object:
            shapes.append(struct.n_tokens)  # type: ignore[attr-defined]
            return decode(pointer, struct)

    library = context._lib
    monkeypatch.setattr(context, "_lib", Spy())
    costs = measure_costs({"target": context})
    assert costs.target.points
    runs = [len(list(group)) for group in _runs(shapes[1:])]
    assert min(runs) > STEPS_TO_RECORD
    context.close()


def _runs(values: list[int]) -> Iterator[list[int]]:
    run: list[int] = []
    for value in values:
        if run and run[-1] != value:
            yield run
            run = []
        run.append(value)
    if run:
        yield run


def test_the_default_on_the_cpu_is_not_to_pad(tmp_path: Path) -> None:
    model = LlamaModel(resolve("smollm2-135m-draft").path, EngineConfig())
    context = model.open_context(EngineConfig(n_ctx=256, n_seq_max=1), 1)
    assert context._smallest_batch == 0
    assert context.steps_until_usual == 0
    context.close()
    model.close()
