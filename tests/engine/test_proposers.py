"""The draft model in lockstep with the target's slots, and lookup."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from exsa_lab.config import EngineConfig
from exsa_lab.engine.kv_slots import SlotTable
from exsa_lab.engine.proposers import ModelDrafter, ModelRequest, Take, draft_by_lookup
from exsa_lab.engine.sequence import Sequence
from exsa_lab.events import DraftReason
from exsa_lab.runtime.model import LlamaModel
from exsa_lab.runtime.protocol import Context, Window
from exsa_lab.speculation.ngram import NgramIndex
from exsa_lab.testing import ScriptedContext, ScriptedModel
from tests.engine.parts import END, sequence
from tests.models.architectures import write_model


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
    pair.drafter.forget()
    assert pair.drafter.lag(pair.sequences[0]) == 3
    assert pair.draft() == [[3, 4, 5]]


def test_it_can_drop_all_that_it_has() -> None:
    pair = Pair("abc", "cba")
    pair.draft()
    pair.drafter.forget()
    assert [pair.context.tokens(slot) for slot in range(4)] == [[], [], [], []]
    assert [pair.drafter.lag(each) for each in pair.sequences] == [3, 3]


@pytest.mark.parametrize(("first_whole", "left"), [(2, 4), (3, 0), (-1, 0)])
@pytest.mark.parametrize("is_shared", [True, False])
def test_a_beginning_without_its_window_is_read_again(first_whole: int, left: int, is_shared: bool) -> None:
    pair = Pair("abcdefgh")
    pair.draft(limit=1)
    pair.context.window = Window(3)
    pair.context.first_whole = lambda slot: first_whole  # type: ignore[method-assign]
    again = sequence("abcdabc")
    if is_shared:
        again.slot = pair.slots.acquire(again.tokens)
        pair.drafter.share(0, again.slot, 4)
    else:
        again.slot = 0
        pair.slots.truncate(0, 4)
        pair.drafter.truncate(0, 4)
    pair.slots.extend(again.slot, again.tokens[4:-1])
    assert pair.slots.num_drafted(again.slot) == len(pair.context.tokens(again.slot)) == left
    pair.sequences = [again]
    assert pair.draft() == [[3, 4, 5]]
    assert pair.context.tokens(again.slot) == [*again.tokens, 3, 4]


def test_what_is_not_drafted_yet_needs_no_window() -> None:
    """Drafting was off for a while: what the draft has of the text is whole at its own end."""
    pair = Pair("abcd")
    pair.draft(limit=1)
    pair.context.window = Window(2)
    pair.context.first_whole = lambda slot: 3  # type: ignore[method-assign]
    pair.slots.extend(0, [0, 1, 2, 3, 4])
    pair.slots.truncate(0, 6)
    pair.drafter.truncate(0, 6)
    assert pair.slots.num_drafted(0) == 4


@pytest.mark.parametrize(("first_whole", "num_decodes"), [(0, 2), (1, 1)])
def test_no_token_is_repeated_whose_window_is_no_longer_whole(first_whole: int, num_decodes: int) -> None:
    """Where batches keep their shape, who lags less repeats its last token, which looks further back."""
    pair = Pair("abcd", "cbaa")
    pair.draft(limit=1)
    pair.drafter.has_costly_shapes = True
    pair.context.window = Window(4)
    pair.context.first_whole = lambda slot: first_whole  # type: ignore[method-assign]
    for each, tokens in zip(pair.sequences, ([4], [1, 2]), strict=True):
        each.tokens += tokens
    before = pair.context.num_decodes
    assert pair.draft(limit=1) == [[5], [3]]
    assert pair.context.num_decodes - before == num_decodes


@pytest.mark.parametrize("is_shared", [True, False])
def test_drafts_behind_what_a_sliding_window_lost_are_those_of_a_fresh_cache(is_shared: bool, tmp_path: Path) -> None:
    """llama.cpp itself gives the cells away: those of a text longer than its window, to others."""
    config = EngineConfig(n_ctx=256, n_seq_max=4)
    with closing(LlamaModel(write_model(tmp_path / "draft.gguf", "gemma3"), config)) as model:
        found = []
        for loses in (True, False):
            with closing(model.open_context(config, 1)) as context:
                slots = SlotTable(4, 256, max_cached=256)
                drafter = ModelDrafter(model, context, slots)
                compute(context, 3, 40)
                long, text = sequence("abcdefgh" * 7), sequence("abcdefgh" * 5 + "hgfe")
                for each in (long, text):
                    each.slot = slots.acquire(each.tokens) if each is long or is_shared else 0
                    if each is text and is_shared:
                        drafter.share(0, each.slot, slots.num_drafted(each.slot))
                    elif each is text:
                        slots.truncate(0, 40)
                        drafter.truncate(0, 40)
                    slots.extend(each.slot, each.tokens[slots.length(each.slot) : -1])
                    (draft,) = drafter.draft([ModelRequest(each, 5, lambda _: Take.MORE, DraftReason.FIXED)])
                    if each is long:
                        slots.truncate(0, 55)
                        drafter.truncate(0, 55)
                    if each is long and loses:
                        context.remove(3, 0)
                        compute(context, 3, 120)
                        assert context.first_whole(0) > 20
                found.append(draft)
        assert found[0].tokens == found[1].tokens
        assert found[0].confidences == pytest.approx(found[1].confidences, abs=0.01)


def compute(context: Context, slot: int, num_tokens: int) -> None:
    """Fill a slot that no sequence uses."""
    batch = context.new_batch()
    batch.add([1] * num_tokens, 0, slot, 1)
    context.decode(batch)


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
