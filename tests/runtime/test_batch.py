"""Which tokens of a batch are computed together where snapshots of states must stay whole."""

from __future__ import annotations

import pytest

from exsa_lab.runtime.batch import LlamaBatch


def batch_of(sizes: list[int]) -> LlamaBatch:
    batch = LlamaBatch(512)
    for slot, size in enumerate(sizes):
        batch.add(list(range(size)), 10 * slot, slot, min(size, 2))
    return batch


@pytest.mark.parametrize(
    ("sizes", "parts"),
    [
        ([], []),
        ([1, 1, 1], [[1, 1, 1]]),
        ([9, 9], [[9, 9]]),
        ([1, 60, 1], [[1, 1], [60]]),
        ([9, 1, 9], [[1], [9, 9]]),
        ([9, 5, 1, 9], [[1], [9], [5], [9]]),
        ([40, 40], [[40], [40]]),  # more than a micro-batch
    ],
)
def test_sequences_share_a_decode_if_they_have_as_many_tokens(sizes: list[int], parts: list[list[int]]) -> None:
    assert [[entry.size for entry in part] for part in batch_of(sizes).parts(64)] == parts


def test_single_tokens_may_come_last() -> None:
    parts = batch_of([1, 9, 1, 5]).parts(64, ones_last=True)
    assert [[entry.size for entry in part] for part in parts] == [[9], [5], [1, 1]]


def test_a_part_has_the_tokens_of_its_entries() -> None:
    batch, part = batch_of([3, 1, 2]), LlamaBatch(512)
    part.take(batch, [batch.entries[2], batch.entries[0]])
    tokens = [(part.struct.token[i], part.struct.pos[i], part.struct.seq_id[i][0]) for i in range(5)]
    assert tokens == [(0, 20, 2), (1, 21, 2), (0, 0, 0), (1, 1, 0), (2, 2, 0)]
    assert [part.struct.logits[i] for i in range(5)] == [1, 1, 0, 1, 1]
    assert (part.num_tokens, part.num_outputs, part.struct.n_tokens) == (5, 4, 5)
