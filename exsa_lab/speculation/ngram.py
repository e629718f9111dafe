"""Prompt lookup: propose what followed the last time the text looked like this. No model, no cost.

An `NgramIndex` holds the tokens of one request, prompt and generated alike. Where the last few tokens occurred
before, what followed them then is the proposal. Text that is copied, quoted or edited repeats itself for long
stretches, and there this beats any draft model (prompt lookup decoding, Saxena 2023; LLMA, arXiv 2304.04487).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

from exsa_lab.speculation.history import TextHistory

NGRAM = 2
"""Tokens that must have come before in this order for a match."""
MAX_CANDIDATES = 64
"""Earlier occurrences looked at: the most recent ones."""
MAX_MATCH = 64
"""Longest match length reported. Beyond it a longer match says nothing new."""
COPY = 3
"""Proposed tokens right in a row that make a copy: where it goes on after a break is then a good guess."""
RESUME_WITHIN, RESUME_SLACK = 8, 3
"""A copy is resumed so many tokens after its break at most, and so far from where it would be by now."""
_NEAREST_FIRST = sorted(range(-RESUME_SLACK, RESUME_SLACK + 1), key=abs)
RESUMED = 6
"""Tokens that such a match counts for beside its own: even one token there is no coincidence any more."""


def num_right(proposed: Sequence[int], text: Sequence[int]) -> int:
    """Return how many proposed tokens are those with which the text goes on, up to the first that is not."""
    wrong = (place for place, (one, other) in enumerate(zip(proposed, text, strict=False)) if one != other)
    return next(wrong, min(len(proposed), len(text)))


@dataclass(frozen=True, slots=True)
class _Match:
    """Where a proposal starts, and how many tokens before it agree with the end of the text; 0 for no match."""

    source: int = 0
    length: int = 0
    is_of_history: bool = False


class NgramIndex:
    """Suffix lookup over one request's tokens. Appending is O(1), proposing too.

    Every pair of tokens points to where it occurred before, as in zlib's hash chains. Of the 64 most recent
    occurrences of the pair at the end of the text, the one whose preceding text agrees longest with the end of the
    text wins, the most recent one where several agree equally long. That length is the match length: 2 is a
    coincidence, 20 is a copy.

    A copy goes on where it is, as long as it is right. It breaks off where a word is replaced, and is taken up soon
    after. A match near the place that the copy would have reached by then therefore counts as longer, and comes before
    others; one token that agrees is enough.

    ``is_end`` tells the tokens that end a text: what followed one in an earlier message is not proposed. ``history``
    holds other texts; a place there comes before the text's own where it agrees longer.

    Example:
        >>> index = NgramIndex([1, 2, 3, 4, 9, 1, 2, 3])
        >>> index.propose(2)
        ([4, 9], 3)
    """

    def __init__(
        self,
        tokens: Iterable[int] = (),
        is_end: Callable[[int], bool] = lambda token: False,
        history: TextHistory | None = None,
    ) -> None:
        self._is_end = is_end
        self._history = history
        self._tokens: list[int] = []
        self._last: dict[tuple[int, int], int] = {}
        """Where each pair ended most recently (the index after its last token)."""
        self._previous = [0]
        """By end: where the pair that ends there ended before, 0 if it did not."""
        self._found = _Match()
        self._found_at = 0
        """Length of the text that `_found` is for: a proposal and what is learned of it ask for the same."""
        self._copied = 0
        """Proposed tokens that were right in a row up to now."""
        self._broken: tuple[_Match, int] | None = None
        """The last copy that broke off, at the token that did not come, and the length of the text then."""
        self.extend(tokens)

    def __len__(self) -> int:
        return len(self._tokens)

    @property
    def match_length(self) -> int:
        """How long the end of the text agrees with an earlier place; 0 where nothing would be proposed."""
        return self._find().length

    @property
    def owner(self) -> int | None:
        """Whose text the proposal comes from; None where it is the request's own, or nothing would be proposed."""
        match = self._find()
        return self._history.owner(match.source) if self._history is not None and match.is_of_history else None

    def append(self, token: int) -> None:
        """Add the next token of the text."""
        tokens = self._tokens
        tokens.append(token)
        end = len(tokens)
        if end < NGRAM:
            self._previous.append(0)
            return
        pair = (tokens[-2], token)
        self._previous.append(self._last.get(pair, 0))
        self._last[pair] = end

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
            match = self._find()
            is_right = match.length > 0 and self._following(match, 1) == [token]
            if match.length:
                outcomes.append((match.length, is_right))
                if not is_right and self._copied >= COPY:
                    self._broken = (match, len(self._tokens))
            self._copied = self._copied + 1 if is_right else 0
            self.append(token)
            if is_right:
                self._follow(match)
        return outcomes

    def propose(self, max_tokens: int) -> tuple[list[int], int]:
        """Return up to ``max_tokens`` proposed tokens and the match length; ``([], 0)`` where nothing matches.

        A proposal that runs into the end of the text goes on with itself, as a repeating text would. An end token is
        the last one proposed.
        """
        match = self._find()
        if not match.length or max_tokens <= 0:
            return [], 0
        tokens = self._following(match, max_tokens)
        end = next((place for place, token in enumerate(tokens, start=1) if self._is_end(token)), max_tokens)
        return tokens[:end], match.length

    def _following(self, match: _Match, count: int) -> list[int]:
        if match.is_of_history:
            assert self._history is not None
            return self._history.following(match.source, count)
        tokens = self._tokens[match.source : match.source + count]
        period = len(tokens)
        while len(tokens) < count:
            tokens.append(tokens[-period])
        return tokens

    def _find(self) -> _Match:
        match, end = self._found, len(self._tokens)
        is_lost = match.is_of_history and self._history is not None and not self._history.holds(match.source)
        if self._found_at != end or is_lost:
            self._found, self._found_at = self._search(end), end
        return self._found

    def _follow(self, match: _Match) -> None:
        """Go on with a match whose token came. Every other match grew by one at most, so none overtakes it."""
        self._found = replace(match, source=match.source + 1, length=min(MAX_MATCH, match.length + 1))
        self._found_at = len(self._tokens)

    def _search(self, end: int) -> _Match:
        best = _Match(*self._longest_match(end))
        if self._history is not None and best.length < MAX_MATCH:
            place, length = self._history.find(self._tokens)
            if length > best.length:
                best = _Match(place, length, is_of_history=True)
        resumed = self._resumed(end)
        return resumed if resumed.length >= best.length else best

    def _resumed(self, end: int) -> _Match:
        """Where the copy that broke off goes on, if the last token stands near there."""
        if self._broken is None or end - self._broken[1] > RESUME_WITHIN:
            return _Match()
        copy, at = self._broken
        reached = copy.source + end - at
        for source in (reached + offset for offset in _NEAREST_FIRST):
            if length := self._agreeing(source, copy.is_of_history):
                return replace(copy, source=source, length=min(MAX_MATCH, length + RESUMED))
        return _Match()

    def _agreeing(self, source: int, is_of_history: bool) -> int:
        """Tokens before ``source`` that equal the end of the text."""
        if not is_of_history:
            return self._match_length(source) if 0 < source < len(self._tokens) else 0
        assert self._history is not None
        return self._history.match_length(source, self._tokens)

    def _longest_match(self, end: int) -> tuple[int, int]:
        tokens, previous = self._tokens, self._previous
        candidate = previous[end]
        best, best_length = 0, 0
        for _ in range(MAX_CANDIDATES):
            if not candidate:
                break
            # Only a longer match is of interest: look first at the token that would make it longer.
            if candidate > best_length and tokens[candidate - best_length - 1] == tokens[end - best_length - 1]:
                length = self._match_length(candidate)
                if length > best_length:
                    best, best_length = candidate, length
                    if length == MAX_MATCH:
                        break
            candidate = previous[candidate]
        return best, best_length

    def _match_length(self, source: int) -> int:
        """Tokens before ``source`` that equal the end of the text."""
        tokens = self._tokens
        end = len(tokens)
        longest = min(source, MAX_MATCH)
        if tokens[source - longest : source] == tokens[end - longest :]:
            return longest
        length = 0
        while tokens[source - length - 1] == tokens[end - length - 1]:
            length += 1
        return length
