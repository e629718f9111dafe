"""Lookup in texts that were seen before, against a search that looks at every place."""

from __future__ import annotations

import tracemalloc

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from exsa_lab.events import RoundEvent
from exsa_lab.speculation.history import KEY, MAX_CANDIDATES, MAX_MATCH, TOKEN_BYTES, TextHistory
from exsa_lab.speculation.ngram import NgramIndex
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
@given(texts=st.lists(st.lists(st.integers(0, 3), min_size=4, max_size=12), max_size=20), tail=tokens)
def test_the_oldest_texts_are_given_up(texts: list[list[int]], tail: list[int]) -> None:
    most = 40
    history, kept = TextHistory(most * TOKEN_BYTES), []
    for owner, text in enumerate(texts):
        history.add(text, owner)
        if text not in kept:
            kept.append(text)
        while sum(len(each) + 1 for each in kept) > most:
            kept.pop(0)
        assert len(history) == sum(len(each) + 1 for each in kept)
    assert history.num_texts == len(kept)
    assert history.find(tail)[1] == naive_find(kept, tail)[0]


def test_a_text_takes_no_more_memory_than_is_counted() -> None:
    random = np.random.default_rng(0)
    texts = [random.integers(0, 50_000, 1000).tolist() for _ in range(20)]
    tracemalloc.start()
    history = TextHistory()
    for owner, text in enumerate(texts):
        history.add(text, owner)
    used = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    assert used <= len(history) * TOKEN_BYTES


def test_what_is_forgotten_is_not_found() -> None:
    history = TextHistory()
    history.add([1, 2, 3, 4, 5], 1)
    index = NgramIndex([7, 1, 2, 3], history=history)
    assert index.propose(2) == ([4, 5], 3)
    assert index.owner == 1
    history.forget()
    assert index.propose(2) == ([], 0)
    assert index.owner is None
    history.add([1, 2, 3, 8, 9], 2)
    assert index.propose(2) == ([8, 9], 3)


def test_the_own_text_comes_first_where_it_agrees_as_long() -> None:
    history = TextHistory()
    history.add([1, 2, 3, 4], 1)
    index = NgramIndex([1, 2, 3, 5, 1, 2, 3], history=history)
    assert index.propose(1) == ([5], 3)
    assert index.owner is None
    history.add([5, 1, 2, 3, 6], 2)
    assert index.propose(1) == ([6], 4)
    assert index.learn([6, 0]) == [(4, True)]


# The engine


def model(seed: int = 1) -> ScriptedModel:
    inner = markov(12, seed, sharpness=4.0)
    return ScriptedModel([*LETTERS, "."], lambda tokens: [*inner(tokens), 0.0], ends=[12])  # type: ignore[misc]


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


def test_a_round_tells_the_cell_whose_text_its_draft_was_looked_up_in() -> None:
    with scripted_engine(model()) as engine:
        first = engine.generate("abc", max_tokens=30, drafter="ngram", draft_length=8)
        first.cell = 7
        second = engine.generate("abc", max_tokens=30, drafter="ngram", draft_length=8)
    assert {event.looked_up_cell for event in second.trace.rounds if event.looked_up_in} == {7}
    assert "looked up in the text of cell 7" in static_html(second.events)
    assert "looked up in the text of generation" not in static_html(second.events)


@settings(deadline=None, max_examples=20)
@given(prompts=st.lists(st.text(LETTERS, min_size=1, max_size=12), min_size=2, max_size=8), k=st.integers(0, 6))
def test_greedy_texts_do_not_depend_on_what_was_seen(prompts: list[str], k: int) -> None:
    texts = []
    for lookup_history in (True, False):
        with scripted_engine(model(), lookup_history=lookup_history) as engine:
            gens = [engine.submit(prompt, max_tokens=20, drafter="ngram", draft_length=k) for prompt in prompts * 2]
            texts.append([gen.result(timeout=20) for gen in gens])
    assert texts[0] == texts[1]


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
