"""Lookup in texts that were seen before, against a search that looks at every place."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exsa_lab.engine import engine as engine_module
from exsa_lab.engine.loop import Loop
from exsa_lab.engine.worker.registry import MAX_RECENT
from exsa_lab.errors import ConfigError
from exsa_lab.events import RoundEvent
from exsa_lab.runtime.protocol import UNLIMITED
from exsa_lab.speculation.history import (
    KEY,
    LEAST_TEXT,
    LONG_KEY,
    MAX_CANDIDATES,
    MAX_MATCH,
    TOKEN_BYTES,
    TextHistory,
)
from exsa_lab.speculation.ngram import RESUMED, NgramIndex
from exsa_lab.testing import ScriptedModel, markov, scripted_engine
from exsa_lab.widgets.static import static_html

LETTERS = "abcdefghijkl"
tokens = st.lists(st.integers(0, 2), max_size=40)


def naive_find(texts: list[list[int]], tail: list[int]) -> tuple[int, list[int]]:
    """Match length and what follows, straight from the definition: the newest of the longest."""
    found: list[tuple[int, list[int]]] = []
    for text in texts:
        for place in range(KEY, len(text)):
            length = 0
            while length < min(place, len(tail), MAX_MATCH) and text[place - 1 - length] == tail[-1 - length]:
                length += 1
            if length >= KEY:
                found.append((length, text[place:]))
    newest = found[::-1][:MAX_CANDIDATES]
    if len(found) > MAX_CANDIDATES:
        newest += [each for each in found[::-1] if each[0] >= LONG_KEY][:MAX_CANDIDATES]
    return max(newest, key=lambda each: each[0]) if newest else (0, [])


@settings(deadline=None, max_examples=200)
@given(texts=st.lists(tokens, max_size=6), tail=tokens)
def test_it_finds_the_newest_of_the_longest_matches(texts: list[list[int]], tail: list[int]) -> None:
    history, kept = TextHistory(), []
    for owner, text in enumerate(texts):
        history.add(text, owner)
        if len(text) > KEY and text not in kept:
            kept.append(text)
    length, following = naive_find(kept, tail)
    place, found = history.find(tail)
    assert found == length
    if length:
        assert history.following(place, 100) == following
        assert history.following(place, 2) == following[:2]
        owner = history.owner(place)
        assert owner is not None
        assert texts[owner][-len(following) :] == following


@settings(deadline=None)
@given(sizes=st.lists(st.integers(KEY + 1, 300), max_size=60))
def test_the_oldest_texts_are_given_up(sizes: list[int]) -> None:
    most, kept = 1024, []
    history = TextHistory(most)
    for owner, size in enumerate(sizes):
        kept.append(list(range(1000 * owner, 1000 * owner + size)))
        history.add(kept[-1], owner)
        while sum(len(each) + 1 for each in kept) > most or len(kept) > most // LEAST_TEXT:
            kept.pop(0)
        assert (len(history), history.num_texts) == (sum(len(each) + 1 for each in kept), len(kept))
    for owner in range(len(sizes)):
        text = list(range(1000 * owner, 1000 * owner + KEY))
        place, length = history.find(text)
        if owner < len(sizes) - len(kept):
            assert (place, length) == (0, 0)
            continue
        assert length == KEY
        assert history.owner(place) == owner
        assert history.following(place, 1000) == kept[owner - len(sizes)][KEY:]


def test_texts_take_no_more_memory_than_is_counted_while_they_are_added_either() -> None:
    random = np.random.default_rng(0)
    num = 1 << 14
    row = random.integers(0, 50_000, 90).tolist()
    kinds = {
        "random": [random.integers(0, 50_000, 1000).tolist() for _ in range(3 * num // 1000)],
        "short": [random.integers(0, 50_000, 4).tolist() for _ in range(num // 4)],
        "rows": [[*row, *random.integers(0, 50_000, 15).tolist()] for _ in range(2 * num // 100)],
        "repeating": [[token] * 200 for token in range(2 * num // 200)],
        "endless": [list(range(3 * num))],
    }
    for kind, texts in kinds.items():
        tracemalloc.start()
        history = TextHistory(num)
        for owner, text in enumerate(texts):
            history.add(text, owner)
        used, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert used <= num * TOKEN_BYTES, kind
        # What is longer than all that may be kept is first looked at as a whole.
        assert kind == "endless" or peak <= num * TOKEN_BYTES + (1 << 18), kind


@pytest.mark.parametrize("text", [[], [1], [1, 2, 3]])
def test_texts_too_short_to_be_found_are_not_kept(text: list[int]) -> None:
    history = TextHistory(64)
    history.add(text, 1)
    assert (len(history), history.num_texts) == (0, 0)
    assert history.find(text) == (0, 0)


def test_of_a_text_that_is_too_long_the_end_is_kept() -> None:
    history = TextHistory(64)
    history.add(list(range(1000)), 1)
    place, length = history.find(list(range(990)))
    assert (length, history.following(place, 100)) == (989 - 936, list(range(990, 1000)))
    assert len(history) == 64


def test_one_token_repeated_is_found_at_once() -> None:
    history = TextHistory()
    history.add([7] * 100_000, 1)
    place, length = history.find([7] * 100)
    assert length == MAX_MATCH
    assert history.following(place, 1) == [7]
    assert history.find([8, 7, 7, 7])[1] == KEY


def test_the_turns_of_a_chat_are_kept_once() -> None:
    random = np.random.default_rng(0)
    history, text, turns = TextHistory(), [], []
    for owner in range(40):
        text = [*text, *random.integers(0, 50_000, 100).tolist()]
        history.add(text, owner)
        turns.append(text)
    assert len(history) < len(text) + 40 * (2 * MAX_MATCH + 1)
    for owner, turn in enumerate(turns[1:], start=1):
        place, length = history.find(turn[:-50])
        assert length == MAX_MATCH
        assert history.owner(place) in (owner, owner + 1)  # which begins a little before what is new
        assert history.following(place, 50) == turn[-50:]


def test_a_text_that_comes_again_belongs_to_who_had_it_last() -> None:
    history = TextHistory()
    history.add(list(range(70)), 1)
    history.add(list(range(70)), 2)
    history.add(list(range(64)), 3)  # only the beginning
    place, length = history.find([3, 4, 5])
    assert (length, history.owner(place), history.num_texts) == (KEY, 2, 1)


def test_a_beginning_whose_text_was_dropped_is_kept_anew() -> None:
    history, first = TextHistory(1024), list(range(200))
    history.add(first, 1)
    history.add([*first, *range(300, 500)], 2)
    for owner in range(3, 7):
        history.add(list(range(1000 * owner, 1000 * owner + 150)), owner)
    assert history.find(first[:10]) == (0, 0)
    for owner in range(7, 30):
        history.add([*first, *range(300, 500)], owner)
        place, length = history.find(first[:10])
        assert (length, history.owner(place)) == (10, owner)
        history.add(list(range(1000 * owner, 1000 * owner + 150)), owner)


def test_each_of_a_thousand_rows_is_found_again() -> None:
    """Rows of one template: a few tokens of them stand in all, and the newest are not the right ones."""
    random = np.random.default_rng(0)
    history, template = TextHistory(), list(range(100, 124))
    rows = [[*numbers[:8], *template, *numbers[8:]] for numbers in random.integers(0, 50, (1000, 18)).tolist()]
    for owner, row in enumerate(rows):
        history.add(row, owner)
    for owner, row in enumerate(rows[::50]):
        index = NgramIndex(row[:32], history=history)
        assert (index.propose(10)[0], index.owner) == (row[32:], 50 * owner)


def test_the_newest_row_wins() -> None:
    history = TextHistory()
    for owner in range(5):
        history.add([owner, 1, 2, 3, 10 + owner], owner)
    index = NgramIndex([9, 1, 2, 3], history=history)
    assert (index.propose(1)[0], index.owner) == ([14], 4)


def test_a_copy_is_followed_where_newer_texts_say_the_same() -> None:
    history = TextHistory()
    history.add([*range(50), 60, 61, 62], 1)
    index = NgramIndex(range(20), history=history)
    assert index.learn(range(20, 30))[-1] == (29, True)
    history.add([*range(25, 50), 70, 71, 72], 2)
    assert index.learn(range(30, 50))[-1] == (49, True)
    assert (index.propose(3)[0], index.owner) == ([60, 61, 62], 1)


def test_a_copy_whose_text_was_overwritten_is_looked_for_anew() -> None:
    history = TextHistory(64)
    history.add([*range(30)], 1)
    index = NgramIndex(range(10), history=history)
    assert index.propose(2)[0] == [10, 11]
    history.add([*range(100, 130), *range(7, 20)], 2)
    assert (index.propose(2), index.owner) == (([10, 11], 3), 2)
    history.add(list(range(200, 260)), 3)
    assert (index.propose(2), index.owner) == (([], 0), None)


def test_a_copy_of_another_text_is_taken_up_where_it_broke_off() -> None:
    history = TextHistory()
    history.add(list(range(40)), 1)
    index = NgramIndex(range(10), history=history)
    index.learn([*range(10, 20), 99])
    assert index.propose(2) == ([], 0)
    index.learn([21])
    assert index.propose(2) == ([22, 23], 1 + RESUMED)
    assert index.owner == 1
    index.learn([22, 23, 98, 97, 26])  # two tokens, one of them replaced by two
    assert index.propose(2) == ([27, 28], 1 + RESUMED)
    history.forget()
    assert index.propose(2) == ([], 0)


def test_what_is_forgotten_is_not_found() -> None:
    history = TextHistory()
    history.add([1, 2, 3, 4, 5], 1)
    index = NgramIndex([7, 1, 2, 3], history=history)
    assert index.propose(2) == ([4, 5], 3)
    assert index.owner == 1
    history.forget()
    assert index.propose(2) == ([], 0)
    assert index.owner is None
    history.add([6, 1, 2, 3, 8, 9], 2)
    index.extend([6, 1, 2, 3])
    assert index.propose(2) == ([8, 9], 4)


def test_the_own_text_comes_first_where_it_agrees_as_long() -> None:
    history = TextHistory()
    history.add([1, 2, 3, 4], 1)
    index = NgramIndex([1, 2, 3, 5, 1, 2, 3], history=history)
    assert index.propose(1) == ([5], 3)
    assert index.owner is None
    history.add([8, 1, 2, 3, 6], 2)
    index.extend([8, 1, 2, 3])
    assert index.propose(1) == ([6], 4)
    assert index.learn([6, 0]) == [(4, True)]


# The engine


def model(max_rollback: int = UNLIMITED) -> ScriptedModel:
    inner = markov(12, 1, sharpness=4.0)
    return ScriptedModel(
        [*LETTERS, ".", "\x02"],  # the last is what forms of texts are read with
        lambda tokens: [*inner(tokens), 0.0, 0.0],  # type: ignore[misc]
        ends=[12],
        max_rollback=max_rollback,
    )


def forgotten(prompt: str) -> str:
    """A text of twelve letters whose pairs seldom repeat: only another request's text helps."""
    probs, said = markov(12, 1, sharpness=4.0), tuple(LETTERS.index(c) for c in prompt)
    for _ in range(30):
        said += (int(np.argmax(probs(said))),)
    return "".join(LETTERS[token] for token in said[len(prompt) :])


def test_a_request_that_comes_again_is_looked_up_in_the_first_ones_text() -> None:
    with scripted_engine(model()) as engine:
        first, second = (engine.generate("abc", max_tokens=30, drafter="ngram", draft_length=8) for _ in range(2))
        engine.forget_texts()
        third = engine.generate("abc", max_tokens=30, drafter="ngram", draft_length=8)
    assert first.text == second.text == third.text == forgotten("abc")
    assert second.stats.rounds < first.stats.rounds
    assert third.stats.rounds == first.stats.rounds
    assert third.stats.cached_prompt_tokens == 0
    found = {event.looked_up_in for event in second.events if isinstance(event, RoundEvent) and event.k}
    assert found == {first.id}


def test_a_round_tells_the_cell_whose_text_its_draft_was_looked_up_in(monkeypatch: pytest.MonkeyPatch) -> None:
    cell: int | None = 7
    monkeypatch.setattr(engine_module, "running_cell", lambda: cell)
    ask = {"max_tokens": 30, "drafter": "ngram", "draft_length": 8}
    with scripted_engine(model()) as engine:
        engine.generate("abc", **ask)
        second = engine.generate("abc", **ask)
        cell = 9
        engine.generate("abc", **ask)
        late = engine.generate("abc", **ask)
        cell = None
        other = engine.generate("def", **ask)
        last = engine.generate("def", **ask)
    assert {event.looked_up_cell for event in second.trace.rounds if event.looked_up_in} == {7}
    assert "looked up in the text of cell 7" in static_html(second.events)
    assert "looked up in the text of generation" not in static_html(second.events)
    # A cell that was run again is named by the number that the notebook shows.
    assert {event.looked_up_cell for event in late.trace.rounds if event.looked_up_in} == {9}
    assert f"looked up in the text of generation {other.id}" in static_html(last.events)


def test_a_cell_is_named_after_hundreds_of_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine_module, "running_cell", lambda: 3)
    ask = {"max_tokens": 30, "drafter": "ngram", "draft_length": 8}
    with scripted_engine(model()) as engine:
        engine.generate("abc", **ask)
        for _ in range(MAX_RECENT):
            engine.generate("d", max_tokens=1, draft_length=0)
        gen = engine.generate("abc", **ask)
    assert {event.looked_up_cell for event in gen.trace.rounds if event.looked_up_in} == {3}


SHAPES: list[dict[str, object]] = [
    {},
    {"regex": "(a|b|c|d)(cde|fgh){3}[a-l]*"},
    {"temperature": 0.9, "seed": 1, "top_p": 0.8, "repeat_penalty": 1.3, "logit_bias": {3: 1.0}},
]


@pytest.mark.parametrize("max_rollback", [UNLIMITED, 4])
@pytest.mark.parametrize("shape", SHAPES, ids=["greedy", "form", "sampled"])
@settings(deadline=None, max_examples=15)
@given(prompts=st.lists(st.text(LETTERS, min_size=1, max_size=12), min_size=2, max_size=8), k=st.integers(1, 6))
def test_texts_do_not_depend_on_what_was_seen(
    max_rollback: int, shape: dict[str, object], prompts: list[str], k: int
) -> None:
    """Drafts from other texts, forced at every place, with few cells and memory that goes back a little only."""
    texts, looked_up = [], 0
    config = {"n_ctx": 96, "n_seq_max": 3, "default_draft_length": k}  # nothing was measured: that is what auto means
    for params in ({"draft_length": 0}, {"drafter": "ngram"}):
        with scripted_engine(model(max_rollback=max_rollback), **config) as engine:
            gens = [engine.submit(prompt, max_tokens=20, **params, **shape) for prompt in [*prompts, prompts[0]] * 2]
            texts.append([gen.result(timeout=60) for gen in gens])
            looked_up = sum(event.looked_up_in is not None for gen in gens for event in gen.trace.rounds)
    assert texts[0] == texts[1]
    assert looked_up


def test_a_seed_gives_the_same_text_whatever_was_seen() -> None:
    settings = {"max_tokens": 30, "drafter": "ngram", "draft_length": 4, "temperature": 1.0, "seed": 1}
    with scripted_engine(model()) as engine:
        before = engine.generate("abc", **settings).text
        for seed in range(2, 5):
            engine.generate("abc", **(settings | {"seed": seed}))
        assert engine.generate("abc", **settings).text == before


def test_sampling_keeps_its_distribution_with_what_was_seen() -> None:
    """The texts that were seen are always tried first, and taken as often as the model would say them."""
    probs = [0.5, 0.3, 0.2]
    flat = ScriptedModel("abc", lambda tokens: probs)
    with scripted_engine(flat, n_seq_max=4) as engine:
        gens = [engine.submit("abcabc", max_tokens=40, temperature=1.0, seed=seed) for seed in range(100)]
        counts = np.zeros(3)
        for gen in gens:
            gen.wait(30)
            counts += np.bincount(gen.tokens, minlength=3)
    error = np.sqrt(np.array(probs) * (1 - np.array(probs)) / counts.sum())
    assert np.all(np.abs(counts / counts.sum() - probs) < 5 * error)


def test_nothing_is_kept_where_it_is_not_wanted() -> None:
    with scripted_engine(model(), lookup_history=False) as engine:
        engine.generate("abc", max_tokens=30)
        assert engine.call(lambda loop: loop.drafting.texts) is None
        engine.forget_texts()


def test_what_was_written_is_kept_however_it_ended_but_for_failures() -> None:
    ask = {"max_tokens": 30, "drafter": "none"}

    def next_probs(tokens: tuple[int, ...]) -> list[float]:
        if tokens[0] == 11:
            raise ValueError("no such text")
        return [1 / 12] * 12

    with scripted_engine(ScriptedModel(LETTERS, next_probs, step_s=0.002), n_seq_max=1) as engine:

        def kept() -> int:
            return engine.call(num_texts)

        engine.generate("abc", seed=1, temperature=1.0, **ask)
        assert kept() == 1
        failed = engine.submit("lab", **ask)
        failed.wait(60)
        assert failed.error is not None
        with pytest.raises(ConfigError):
            engine.submit("abd", max_tokens=-1)
        assert kept() == 1
        running, waiting = engine.submit("abefgh", max_tokens=1000), engine.submit("abcdef", **ask)
        waiting.cancel()
        running.cancel()
        assert engine.drain(60)
        assert kept() == 3
        assert engine.call(owner_of_prompt) == waiting.id
        engine.forget_texts()
        assert kept() == 0


def num_texts(loop: Loop) -> int:
    assert loop.drafting.texts is not None
    return loop.drafting.texts.num_texts


def owner_of_prompt(loop: Loop) -> int | None:
    assert loop.drafting.texts is not None
    return loop.drafting.texts.owner(loop.drafting.texts.find([0, 1, 2, 3, 4])[0])
