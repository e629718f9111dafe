"""The draft model in lockstep with the target's slots, and lookup."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from exsa_lab.config import EngineConfig
from exsa_lab.engine.kv_slots import SlotTable
from exsa_lab.engine.proposers import ModelDrafter, ModelRequest, Take, draft_by_lookup
from exsa_lab.engine.sequence import Sequence
from exsa_lab.events import DraftReason
from exsa_lab.speculation.ngram import NgramIndex
from exsa_lab.testing import ScriptedContext, ScriptedModel
from tests.engine.parts import END, sequence


def counting(tokens: tuple[int, ...]) -> list[float]:
    """The next letter after the last one, rather surely; after "h" the end."""
    probs = [0.05] * 9
    probs[min(tokens[-1] + 1, END)] = 0.6
    return probs


class Pair:
    """A drafter and slots that a target's tokens are in already."""

    def __init__(self, *prompts: str, n_batch: int = 64) -> None:
        self.slots = SlotTable(4, 128, max_cached=128)
        model = ScriptedModel([*"abcdefgh", "."], counting, ends=[END])
        self.context: ScriptedContext = model.open_context(EngineConfig(n_ctx=128, n_seq_max=4, n_batch=n_batch), 1)
        self.drafter = ModelDrafter(model, self.context, self.slots)
        self.sequences = [self._sequence(prompt, id) for id, prompt in enumerate(prompts)]

    def _sequence(self, prompt: str, id: int) -> Sequence:
        made = sequence(prompt)
        made.id = id
        made.slot = self.slots.acquire(made.tokens)
        self.slots.extend(made.slot, made.tokens[:-1])
        return made

    def draft(self, limit: int = 3, decide: Callable[[float], Take] = lambda _: Take.MORE) -> list[list[int]]:
        requests = [ModelRequest(each, limit, decide, DraftReason.FIXED) for each in self.sequences]
        return [draft.tokens for draft in self.drafter.draft(requests)]


def test_sequences_draft_in_lockstep_and_its_cache_lacks_the_last_token_only() -> None:
    pair = Pair("ab", "cba")
    assert pair.draft() == [[2, 3, 4], [1, 2, 3]]
    assert pair.context.num_decodes == 3
    for each, tokens in zip(pair.sequences, ([0, 1, 2, 3], [2, 1, 0, 1, 2]), strict=True):
        assert each.slot is not None
        assert pair.context.tokens(each.slot) == tokens
        assert pair.slots.num_drafted(each.slot) == len(tokens)


def test_it_ends_at_its_limit_at_an_end_token_and_where_it_is_told_to() -> None:
    assert Pair("a").draft(limit=1) == [[1]]
    assert Pair("f").draft(limit=8) == [[6, 7, END]]
    assert Pair("a").draft(decide=lambda _: Take.STOP) == [[]]
    assert Pair("a").draft(decide=lambda _: Take.LAST) == [[1]]


def test_a_draft_that_stops_short_tells_what_it_would_have_taken() -> None:
    pair = Pair("a")
    (draft,) = pair.drafter.draft([ModelRequest(pair.sequences[0], 4, lambda _: Take.STOP, DraftReason.FIXED)])
    assert draft.peeked is not None
    assert draft.peeked[0] == 1
    assert draft.peeked[1] == pytest.approx(0.6)


def test_it_catches_up_with_long_texts_in_pieces() -> None:
    pair = Pair("abcdefgh" * 4, "ab", n_batch=8)
    assert pair.drafter.lag(pair.sequences[0]) == 32
    assert pair.draft(limit=2) == [[END], [2, 3]]
    assert pair.drafter.lag(pair.sequences[0]) <= 1


def test_what_is_forgotten_is_read_again() -> None:
    pair = Pair("abc")
    assert pair.draft() == [[3, 4, 5]]
    pair.drafter.forget(pair.sequences[0])
    assert pair.drafter.lag(pair.sequences[0]) == 3
    assert pair.draft() == [[3, 4, 5]]


def test_every_decode_is_told_of() -> None:
    pair = Pair("ab", "cb")
    decodes: list[tuple[int, int]] = []
    pair.drafter.on_decode = lambda tokens, sequences, seconds: decodes.append((tokens, sequences))
    pair.draft(limit=2)
    assert decodes == [(4, 2), (2, 2)]


def test_lookup_proposes_what_followed_before() -> None:
    each = sequence("abcdabc")
    each.ngrams = NgramIndex(each.tokens, lambda token: token == END)
    draft = draft_by_lookup(each, 2, DraftReason.FIXED)
    assert (draft.drafter, draft.tokens, draft.probs) == ("ngram", [3, 0], [1.0, 1.0])


def test_padding_is_fed_and_is_no_part_of_the_draft() -> None:
    each = sequence("abcdabc")
    each.ngrams = NgramIndex(each.tokens, lambda token: token == END)
    draft = draft_by_lookup(each, 2, DraftReason.FIXED)
    draft.padding = 2
    assert (draft.tokens, draft.fed) == ([3, 0], [3, 0, 0, 0])
