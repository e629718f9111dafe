"""Prompt lookup against a search that looks at every place of the text."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exsa_lab.speculation.ngram import (
    COPY,
    MAX_CANDIDATES,
    MAX_MATCH,
    NGRAM,
    RESUME_SLACK,
    RESUME_WITHIN,
    RESUMED,
    NgramIndex,
)

texts = st.lists(st.integers(0, 3), max_size=80) | st.lists(st.integers(0, 1), min_size=150, max_size=400)


def naive_find(tokens: list[int]) -> tuple[int, int]:
    """Start of the proposal and match length, straight from the definition."""
    end = len(tokens)
    pair = tokens[end - NGRAM :]
    sources = [s for s in range(end - 1, NGRAM - 1, -1) if tokens[s - NGRAM : s] == pair] if end >= NGRAM else []
    if not sources:
        return 0, 0
    lengths = {s: naive_match_length(tokens, s) for s in sources[:MAX_CANDIDATES]}
    best = max(lengths, key=lambda s: (lengths[s], s))
    return best, lengths[best]


def naive_match_length(tokens: list[int], source: int) -> int:
    length = 0
    while length < min(source, MAX_MATCH) and tokens[source - length - 1] == tokens[len(tokens) - length - 1]:
        length += 1
    return length


def naive_propose(tokens: list[int], max_tokens: int, found: tuple[int, int] | None = None) -> tuple[list[int], int]:
    source, length = found or naive_find(tokens)
    if not length:
        return [], 0
    text = list(tokens)
    for i in range(max_tokens):
        text.append(text[source + i])
    return text[len(tokens) :], length


class Naive:
    """A text that is generated, straight from the definition: copies are followed, break off and are taken up."""

    def __init__(self, tokens: list[int]) -> None:
        self.tokens = list(tokens)
        self.copied = 0
        self.followed: tuple[int, int] | None = None
        self.broken: tuple[int, int] | None = None

    def find(self) -> tuple[int, int]:
        if self.followed:
            return self.followed
        best, end = naive_find(self.tokens), len(self.tokens)
        if self.broken is None or end - self.broken[1] > RESUME_WITHIN:
            return best
        reached = self.broken[0] + end - self.broken[1]
        near = [s for s in range(1, end) if abs(s - reached) <= RESUME_SLACK and self.tokens[s - 1] == self.tokens[-1]]
        if not near:
            return best
        nearest = min(near, key=lambda s: (abs(s - reached), s))
        resumed = min(MAX_MATCH, naive_match_length(self.tokens, nearest) + RESUMED)
        return (nearest, resumed) if resumed >= best[1] else best

    def propose(self, max_tokens: int) -> tuple[list[int], int]:
        return naive_propose(self.tokens, max_tokens, self.find())

    def learn(self, token: int) -> tuple[int, bool] | None:
        source, length = self.find()
        is_right = self.propose(1)[0] == [token]
        if length and not is_right and self.copied >= COPY:
            self.broken = source, len(self.tokens)
        self.copied = self.copied + 1 if is_right else 0
        self.followed = (source + 1, min(MAX_MATCH, length + 1)) if is_right else None
        self.tokens.append(token)
        return (length, is_right) if length else None


@settings(deadline=None)
@given(texts, st.integers(1, 16))
def test_proposal_equals_naive_search(tokens: list[int], max_tokens: int) -> None:
    assert NgramIndex(tokens).propose(max_tokens) == naive_propose(tokens, max_tokens)


@settings(deadline=None)
@given(texts, texts)
def test_appending_equals_building_at_once(first: list[int], second: list[int]) -> None:
    index = NgramIndex(first)
    index.propose(4)
    for token in second:
        index.append(token)
    assert index.propose(16) == NgramIndex(first + second).propose(16)
    assert index.match_length == naive_find(first + second)[1]
    assert len(index) == len(first) + len(second)


@settings(deadline=None)
@given(texts, texts)
def test_learn_tells_what_one_token_proposals_would_have_been_worth(prompt: list[int], tokens: list[int]) -> None:
    naive, index = Naive(prompt), NgramIndex(prompt)
    expected = [naive.learn(token) for token in tokens]
    assert index.learn(tokens) == [each for each in expected if each]
    assert index.propose(16) == naive.propose(16)


def test_the_longest_match_wins_over_a_more_recent_one() -> None:
    copied = [1, 2, 3, 4, 5, 6, 7]
    tokens = [*copied, 100, 90, 3, 4, 5, 6, 7, 200, *copied]
    assert NgramIndex(tokens).propose(1) == ([100], 7)


def test_the_most_recent_of_equal_matches_wins() -> None:
    tokens = [1, 2, 100, 1, 2, 200, 1, 2]
    assert NgramIndex(tokens).propose(1) == ([200], 2)


def test_a_copy_is_taken_up_where_it_broke_off() -> None:
    index = NgramIndex([1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 50, 7, 60])
    index.learn([1, 2, 3, 4, 5, 99])  # 99 in the place of 6
    assert index.propose(2) == ([], 0)
    index.learn([7])  # stood last before 60, but the copy has come to 8
    assert index.propose(2) == ([8, 9], 1 + RESUMED)


def test_a_copy_is_taken_up_where_a_token_was_left_out_or_put_in() -> None:
    for written, following in (([7], [8, 9]), ([98, 99, 6], [7, 8])):
        index = NgramIndex(range(1, 11))
        index.learn([1, 2, 3, 4, 5, *written])
        assert index.propose(2) == (following, 1 + RESUMED)


def test_long_after_a_break_the_copy_is_forgotten() -> None:
    index = NgramIndex([1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 50, 7, 8, 60])
    index.learn([1, 2, 3, 4, 5, 99, *range(100, 100 + RESUME_WITHIN), 7, 8])
    assert index.propose(1) == ([60], 2)


def test_nothing_is_proposed_after_an_end_token() -> None:
    index = NgramIndex([1, 2, 3, 0, 7, 8, 9, 1, 2], is_end=lambda token: token == 0)
    assert index.propose(8) == ([3, 0], 2)
    assert index.learn([3, 0]) == [(2, True), (3, True)]


def test_a_proposal_that_reaches_the_end_goes_on_with_itself() -> None:
    assert NgramIndex([7, 8, 9, 7, 8, 9]).propose(7)[0] == [7, 8, 9, 7, 8, 9, 7]


def test_match_length_is_bounded() -> None:
    assert NgramIndex([5] * 500).propose(2) == ([5, 5], MAX_MATCH)


@pytest.mark.parametrize("tokens", [[], [1], [1, 2], [1, 2, 3, 4]])
def test_text_without_repetition_proposes_nothing(tokens: list[int]) -> None:
    assert NgramIndex(tokens).propose(8) == ([], 0)


def test_no_tokens_wanted_is_no_proposal() -> None:
    assert NgramIndex([1, 2, 1, 2]).propose(0) == ([], 0)
