"""What llama.cpp's memory loses, on small models."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from exsa_lab.config import EngineConfig
from exsa_lab.runtime.context import LlamaContext
from exsa_lab.runtime.model import LlamaModel
from tests.models.architectures import ROLL_BACK, SAID, write_model


@contextmanager
def opened(path: Path, **settings: int) -> Iterator[list[LlamaContext]]:
    """Two contexts of a model."""
    config = EngineConfig(**{"n_ctx": 1024, "n_seq_max": 6, **settings})  # type: ignore[arg-type]
    model = LlamaModel(path, config)
    contexts = [model.open_context(config, 1) for _ in range(2)]
    try:
        yield contexts
    finally:
        for context in contexts:
            context.close()
        model.close()


def logits_after(context: LlamaContext, tokens: list[int]) -> np.ndarray:  # type: ignore[type-arg]
    context.remove(0, 0)
    batch = context.new_batch()
    batch.add(tokens, 0, 0, 1)
    return context.decode(batch)[0].copy()


@pytest.mark.parametrize("architecture", ROLL_BACK)
def test_roll_backs_in_batches_of_uneven_sequences(architecture: str, tmp_path: Path) -> None:
    """llama.cpp leaves snapshots behind where it moves a state that the same decode computed before."""
    choose, texts = random.Random(1), [[] for _ in range(6)]  # type: list[list[int]]
    with opened(write_model(tmp_path / "model.gguf", architecture)) as (context, alone):
        batch = context.new_batch()
        for _ in range(25):
            batch.clear()
            rows = {}
            for slot in choose.sample(range(6), 4):
                tokens = choose.choices(SAID, k=choose.choice([1, 2, 2, 5, 9, 20]))
                rows[slot] = batch.add(tokens, len(texts[slot]), slot, 1), len(tokens)
                texts[slot] += tokens
            logits = context.decode(batch).copy()
            for slot, (row, size) in rows.items():
                np.testing.assert_allclose(logits[row], logits_after(alone, texts[slot]), atol=0.05)
                if taken_back := choose.randint(0, min(8, size - 1)):
                    del texts[slot][-taken_back:]
                    assert context.remove(slot, len(texts[slot]))


def test_architectures_that_cannot_share_a_decode_get_one_for_each_sequence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with opened(write_model(tmp_path / "model.gguf", "rwkv7")) as (context, alone):
        monkeypatch.setattr(context, "_decodes_alone", True)
        batch = context.new_batch()
        texts = [list(SAID[: 3 + slot]) for slot in range(3)]
        for slot, tokens in enumerate(texts):
            batch.add(tokens, 0, slot, 1)
        assert [len(part) for part in context._parts(batch)] == [1, 1, 1]
        logits = context.decode(batch).copy()
        for row, tokens in zip(logits, texts, strict=True):
            np.testing.assert_allclose(row, logits_after(alone, tokens), atol=0.05)


def test_cells_outside_the_window_are_given_away(tmp_path: Path) -> None:
    with opened(write_model(tmp_path / "model.gguf", "gemma3"), n_ctx=256) as (context, _):
        assert context.window is not None
        assert context.window.size == 32
        batch = context.new_batch()
        for slot, size in ((2, 50), (0, 100), (1, 100), (3, 56)):
            if slot == 3:
                assert context.remove(2, 0)
            for start in range(0, size, 7):
                batch.clear()
                batch.add([97] * min(7, size - start), start, slot, 0)
                context.decode(batch)
        assert context.first_whole(2) < 0
        assert 0 < context.first_whole(0) <= context.window.start(100)
        assert context.first_whole(1) == context.first_whole(3) == 0


def test_recurrent_layers_beside_a_window_take_nothing_back(tmp_path: Path) -> None:
    for architecture, most in (("lfm2", 8), ("lfm2_window", 0)):
        with opened(write_model(tmp_path / "model.gguf", architecture)) as (context, _):
            assert context.max_rollback == most
