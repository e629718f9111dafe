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
from exsa_lab.runtime.steady import PATIENCE, SIZES, STEPS_TO_RECORD, Steady


def test_a_size_once_needed_is_kept_for_a_while() -> None:
    steady = Steady()
    assert [steady.fit(n) for n in (1, 1, 3, 1, 2, 4)] == [1, 1, 4, 4, 4, 4]
    smaller = [steady.fit(n) for n in [1, 2, *[1] * (PATIENCE - 2)]]
    assert smaller == [4] * (PATIENCE - 1) + [2], "shrinks to what was needed meanwhile, not further"
    assert [steady.fit(1) for _ in range(PATIENCE)][-1] == 1


def test_settling_forgets() -> None:
    steady = Steady()
    steady.fit(7)
    steady.settle(1)
    assert steady.fit(1) == 1
    steady.settle(64)
    assert steady.fit(3) == SIZES[-1]


def test_one_size_for_all_where_texts_must_not_depend_on_drafts() -> None:
    steady = Steady(smallest=8)
    assert {steady.fit(n) for n in [1, 5, 8, *[1] * (2 * PATIENCE)]} == {8}
    assert steady.fit(9) == 9


@given(st.lists(st.integers(1, 20), max_size=200))
def test_a_batch_always_fits_and_large_ones_are_left_alone(sizes: list[int]) -> None:
    steady = Steady()
    for size in sizes:
        fitted = steady.fit(size)
        assert fitted >= size
        assert fitted in SIZES if size <= SIZES[-1] else fitted == size


# With llama.cpp


@pytest.fixture(scope="module")
def model() -> Iterator[LlamaModel]:
    opened = LlamaModel(resolve("smollm2-135m-draft").path, EngineConfig())
    yield opened
    opened.close()


def _open(model: LlamaModel, *, steady: bool, n_ctx: int = 512) -> LlamaContext:
    config = EngineConfig(n_ctx=n_ctx, n_seq_max=2)
    return LlamaContext(model._pointer, model.vocab_size, config, 1, steady=Steady() if steady else None)


def _decode(context: LlamaContext, batch: LlamaBatch, *entries: tuple[list[int], int, int, int]) -> np.ndarray:
    batch.clear()
    for entry in entries:
        batch.add(*entry)
    logits = context.decode(batch).copy()
    assert batch.num_tokens == sum(len(tokens) for tokens, *_ in entries)
    return logits


@pytest.mark.real
def test_padded_batches_give_the_logits_of_plain_ones(model: LlamaModel) -> None:
    padded, plain = _open(model, steady=True), _open(model, steady=False)
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
    context = _open(model, steady=True, n_ctx=256)
    batch = context.new_batch()
    context.settle(8)
    _decode(context, batch, (list(range(100, 354)), 0, 0, 1))
    assert _decode(context, batch, ([5], 254, 0, 1)).shape == (1, model.vocab_size)
    assert _decode(context, batch, ([6], 255, 0, 1)).shape == (1, model.vocab_size)
    context.close()


@pytest.mark.real
def test_costs_are_measured_once_a_shape_is_steady(model: LlamaModel, monkeypatch: pytest.MonkeyPatch) -> None:
    context = _open(model, steady=True)
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
    assert context.settle(4) == 0
    context.close()
    model.close()
