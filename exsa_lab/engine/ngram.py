"""Prompt lookup: propose what followed the last time the text looked like this. No model, no cost.

An `NgramIndex` holds the tokens of one request, prompt and generated alike. Where the last few tokens occurred
before, what followed them then is the proposal. Text that is copied, quoted or edited repeats itself for long
stretches, and there this beats any draft model (prompt lookup decoding, Saxena 2023; LLMA, arXiv 2304.04487).
"""

from __future__ import annotations

from collections.abc import Iterable

MIN_NGRAM = 2
MAX_NGRAM = 5
MAX_CANDIDATES = 8
"""Earlier occurrences looked at: the most recent ones."""
MAX_MATCH = 64
"""Longest match length reported. Beyond it a longer match says nothing new."""


class NgramIndex:
    """Suffix lookup over one request's tokens. Appending is O(1), proposing too.

    The longest n-gram (5 down to 2 tokens) at the end of the text that occurred before is looked up. Of its 8 most
    recent occurrences the one whose preceding text agrees longest with the end of the text wins, the most recent
    one where several agree equally long. That length is the match length: 2 is a coincidence, 20 is a copy.

    Example:
        >>> index = NgramIndex([1, 2, 3, 4, 9, 1, 2, 3])
        >>> index.propose(2)
        ([4, 9], 3)
    """

    def __init__(self, tokens: Iterable[int] = ()) -> None:
        self._tokens: list[int] = []
        self._last: dict[tuple[int, ...], int] = {}
        """Where each n-gram ended most recently (the index after its last token)."""
        self._previous: dict[int, list[int]] = {n: [0] for n in range(MAX_NGRAM, MIN_NGRAM - 1, -1)}
        """By n and by end: where the n-gram that ends there ended before, 0 if it did not."""
        self._found = (0, 0, 0)
        """Length of the text, and what `_find` found for it: a proposal and what is learned of it ask for the same."""
        self.extend(tokens)

    def __len__(self) -> int:
        return len(self._tokens)

    def append(self, token: int) -> None:
        """Add the next token of the text."""
        tokens, last = self._tokens, self._last
        tokens.append(token)
        end = len(tokens)
        for n, previous in self._previous.items():
            if n > end:
                previous.append(0)
                continue
            ngram = tuple(tokens[end - n :])
            previous.append(last.get(ngram, 0))
            last[ngram] = end

    def extend(self, tokens: Iterable[int]) -> None:
        """Add several tokens."""
        for token in tokens:
            self.append(token)

    def learn(self, tokens: Iterable[int]) -> list[tuple[int, bool]]:
        """Add generated tokens; returns what a proposal would have been worth before each of them.

        One (match length, whether the proposed token was the right one) for each token that had a match. So the
        acceptance of lookup is known at no cost, even while nothing is drafted.
        """
        outcomes = []
        for token in tokens:
            source, length = self._find()
            if length:
                outcomes.append((length, self._tokens[source] == token))
            self.append(token)
        return outcomes

    def propose(self, max_tokens: int) -> tuple[list[int], int]:
        """Return up to ``max_tokens`` proposed tokens and the match length; ``([], 0)`` where nothing matches.

        A proposal that runs into the end of the text goes on with itself, as a repeating text would.
        """
        source, length = self._find()
        if not length or max_tokens <= 0:
            return [], 0
        tokens = self._tokens[source : source + max_tokens]
        period = len(tokens)
        while len(tokens) < max_tokens:
            tokens.append(tokens[-period])
        return tokens, length

    def _find(self) -> tuple[int, int]:
        """Return where the proposal starts and how many tokens before it match the end of the text."""
        end = len(self._tokens)
        if self._found[0] != end:
            self._found = (end, *self._search(end))
        return self._found[1], self._found[2]

    def _search(self, end: int) -> tuple[int, int]:
        for n, previous in self._previous.items():
            candidate = previous[end]
            if not candidate:
                continue
            best, best_length = candidate, 0
            for _ in range(MAX_CANDIDATES):
                length = self._match_length(candidate, n)
                if length > best_length:
                    best, best_length = candidate, length
                if length == MAX_MATCH or not (candidate := previous[candidate]):
                    break
            return best, best_length
        return 0, 0

    def _match_length(self, source: int, known: int) -> int:
        """Tokens before ``source`` that equal the end of the text; ``known`` of them are known to."""
        tokens = self._tokens
        end = len(tokens)
        longest = min(source, MAX_MATCH)
        if tokens[source - longest : source] == tokens[end - longest :]:
            return longest
        while tokens[source - known - 1] == tokens[end - known - 1]:
            known += 1
        return known
