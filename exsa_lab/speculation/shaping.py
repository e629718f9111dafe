"""What a request does to the logits before its sampling chain: biases, penalties, tokens it never takes.

Each row is shaped by the tokens before it, drafted ones included, and in the same way for target and draft: p is then
the distribution of plain decoding with the same settings, q is what the draft token was drawn from, and greedy
decoding takes the argmax of the shaped row. Pure numpy: no model, no clock.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from exsa_lab.errors import DecodeError
from exsa_lab.speculation.sampling import Row, greedy_token

_FIRST_CAPACITY = 64
_NEVER = np.float32(-np.inf)
_MOST_ASKED = 6
"""Tokens that a mask is asked about one by one: a whole mask of 50,000 tokens takes as long as some twenty of them."""


class Mask(Protocol):
    """Which tokens may come next; it moves along a draft as `Shaping` does."""

    def allowed(self, drafted: Sequence[int]) -> NDArray[np.bool_]:
        """Return one flag for each token of the vocabulary, after the committed tokens and these drafted ones."""

    def admits(self, drafted: Sequence[int], token: int) -> bool:
        """Return the flag of one token."""

    def forced(self, drafted: Sequence[int]) -> list[int]:
        """Return the tokens that must come next; none where there is a choice."""

    def commit(self, tokens: Sequence[int]) -> None:
        """Go on from these tokens; drafted ones are forgotten."""


class Penalties:
    """Makes tokens that were there already less likely, as llama.cpp does. Owned by one sequence.

    Of the last ``last_n`` tokens (-1: all), prompt included, each one's logit is divided by ``repeat`` where it is
    positive and multiplied where it is not; then ``frequency`` is taken off for each time it occurs, and ``presence``
    once.

    The counts move with the text: a token that comes or is taken back costs one step, however long the text is.

    Example::

        penalties = Penalties(repeat=2.0, last_n=64)
        penalties.commit([5, 5, 7])
        penalties.apply(row, drafted=[9])  # rows 5, 7 and 9 are changed, in place
    """

    def __init__(self, *, repeat: float = 1.0, presence: float = 0.0, frequency: float = 0.0, last_n: int = 64) -> None:
        self._repeat, self._presence, self._frequency = np.float32(repeat), np.float32(presence), np.float32(frequency)
        self._last_n = last_n
        self._tokens: list[int] = []
        self._num_committed = 0
        # Each token seen has a place in two arrays: itself, and how often the window holds it.
        self._places: dict[int, int] = {}
        self._ids = np.zeros(_FIRST_CAPACITY, np.intp)
        self._counts = np.zeros(_FIRST_CAPACITY, np.float32)

    def commit(self, tokens: Sequence[int]) -> None:
        """Take these tokens as the text's next ones; drafted ones are forgotten."""
        self._move(tokens)
        self._num_committed = len(self._tokens)

    def apply(self, row: Row, drafted: Sequence[int]) -> None:
        """Change a row of logits in place, as it follows the committed tokens and these drafted ones."""
        self._move(drafted)
        num = len(self._places)
        counts = self._counts[:num]
        is_there = counts > 0
        ids, counts = self._ids[:num][is_there], counts[is_there]
        logits = row[ids]
        if self._repeat != 1.0:
            logits = np.where(logits > 0, logits / self._repeat, logits * self._repeat)
        row[ids] = logits - counts * self._frequency - self._presence

    def _move(self, drafted: Sequence[int]) -> None:
        """Let the window end after these drafted tokens; what it shares with the last draft stays."""
        first, num = self._num_committed, 0
        held = len(self._tokens) - first
        while num < min(held, len(drafted)) and self._tokens[first + num] == drafted[num]:
            num += 1
        for _ in range(held - num):
            self._pop()
        for token in drafted[num:]:
            self._push(token)

    def _push(self, token: int) -> None:
        self._tokens.append(token)
        self._count(token, 1)
        if 0 <= self._last_n < len(self._tokens):
            self._count(self._tokens[-1 - self._last_n], -1)

    def _pop(self) -> None:
        if 0 <= self._last_n < len(self._tokens):
            self._count(self._tokens[-1 - self._last_n], 1)
        self._count(self._tokens.pop(), -1)

    def _count(self, token: int, change: int) -> None:
        place = self._places.get(token)
        if place is None:
            place = self._places[token] = len(self._places)
            if place == len(self._ids):
                self._ids = np.concatenate([self._ids, np.zeros_like(self._ids)])
                self._counts = np.concatenate([self._counts, np.zeros_like(self._counts)])
            self._ids[place] = token
        self._counts[place] += change


class Shaping:
    """Everything a request does to a row of logits, in this order: biases, penalties, suppressed tokens, mask.

    Owned by one sequence, which tells it what was committed; None stands for a request that shapes nothing.

    Example::

        shaping = Shaping(bias={7: -2.0}, suppressed=[0])
        shaping.apply(logits, drafted=[3, 4])  # a new row
    """

    def __init__(
        self,
        *,
        bias: Mapping[int, float] | None = None,
        penalties: Penalties | None = None,
        suppressed: Iterable[int] = (),
        mask: Mask | None = None,
        excluded: int | None = None,
    ) -> None:
        """``excluded`` is a token that cannot come next; once another one came, it can."""
        bias = bias or {}
        self._bias_ids = np.fromiter(bias.keys(), np.intp, len(bias))
        self._biases = np.fromiter(bias.values(), np.float32, len(bias))
        self._penalties = penalties
        self._suppressed = np.array(sorted(set(suppressed)), np.intp)
        self._changes_some = bool(bias) or penalties is not None or len(self._suppressed) > 0
        self.mask = mask
        self._excluded = excluded

    def apply(self, logits: Row, drafted: Sequence[int]) -> Row:
        """Return the shaped logits of the token after the committed ones and these drafted ones.

        Raises DecodeError where no token is left that may come.
        """
        row = self._changed(logits, drafted)
        row = self.masked(row, drafted)
        if self._excluded is not None and not drafted:
            row = row.copy()
            row[self._excluded] = _NEVER
        if row.max() == -np.inf:
            if self._excluded is not None:
                raise DecodeError("no other token can come there.", hint="Branch off at another position.")
            raise DecodeError(
                "no token is left that may come next.",
                hint="suppress_tokens and the form asked for together allow none.",
            )
        return row

    def only(self, logits: Row, drafted: Sequence[int]) -> int | None:
        """Return the token that must come, without a look at the logits of others; None where there is a choice.

        None also where that one is suppressed or excluded: `apply` says so.
        """
        if self.mask is None or self._excluded is not None:
            return None
        forced = self.mask.forced(drafted)
        is_possible = len(forced) > 0 and np.isfinite(logits[forced[0]]) and forced[0] not in self._suppressed
        return forced[0] if is_possible else None

    def best(self, logits: Row, drafted: Sequence[int]) -> int:
        """Return the token with the largest shaped logit: `greedy_token` of what `apply` returns, and its errors.

        The mask is asked about all tokens only where none of those that are best without it may come.
        """
        if (only := self.only(logits, drafted)) is not None:
            return only
        if self.mask is not None and self._excluded is None:
            row = self._changed(logits, drafted)
            for _ in range(_MOST_ASKED):
                token = int(row.argmax())
                if not np.isfinite(row[token]):
                    break
                if self.mask.admits(drafted, token):
                    return token
                row = row.copy() if row is logits else row
                row[token] = _NEVER
        return greedy_token(self.apply(logits, drafted))

    def masked(self, row: Row, drafted: Sequence[int]) -> Row:
        """Return a row in which only tokens that the mask allows may come."""
        return row if self.mask is None else np.where(self.mask.allowed(drafted), row, _NEVER)

    def _changed(self, logits: Row, drafted: Sequence[int]) -> Row:
        """The row before the mask: itself where nothing changes it."""
        if not self._changes_some:
            return logits
        row = logits.copy()
        row[self._bias_ids] += self._biases
        if self._penalties is not None:
            self._penalties.apply(row, drafted)
        row[self._suppressed] = -np.inf
        return row

    def commit(self, tokens: Sequence[int]) -> None:
        """Go on from these tokens, which were committed; drafted ones are forgotten."""
        if tokens:
            self._excluded = None
        if self._penalties is not None:
            self._penalties.commit(tokens)
        if self.mask is not None:
            self.mask.commit(tokens)
