"""Control tokens: only what a template itself wrote becomes one.

llama.cpp splits a text at its special tokens and tokenizes what lies between. The same is done here where a user's text
spells such a token, except that a user's does not count; any other text goes to llama.cpp as it is, so its tokens are
the reference's.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from functools import cached_property
from itertools import pairwise

from exsa_lab.prompts.marked import OWN, Marked, cut, marks_of
from exsa_lab.runtime.protocol import Model, SpecialToken

THOUGHT_MARKS = ("<think>", "</think>", "<seed:think>", "</seed:think>", "[THINK]", "[/THINK]")
"""What an assistant's own text may hold where the vocabulary counts it as text ("user-defined")."""


class SpecialTokens:
    """The special tokens of a model as they matter to one template."""

    def __init__(self, tokens: Iterable[SpecialToken], template: str = "") -> None:
        self.tokens = sorted((token for token in tokens if token.text), key=lambda token: -len(token.text.encode()))
        self._control = {token.id for token in self.tokens if token.is_control}
        # User-defined tokens are text (runs of blanks, say), unless the template writes them to structure a prompt.
        self._guarded = [
            token for token in self.tokens if token.is_control or (len(token.text) > 1 and token.text in template)
        ]

    @cached_property
    def never_said(self) -> frozenset[int]:
        """Numbers of the tokens that no message may hold, an assistant's neither."""
        return frozenset(token.id for token in self._guarded if token.is_control or token.text not in THOUGHT_MARKS)

    def found_in(self, text: str) -> list[str]:
        """Return the texts of control tokens that a text spells, in order, each once."""
        return list(dict.fromkeys(token.text for _, token in self._spelled(text)))

    def tokenize(
        self, model: Model, text: str, lenient: frozenset[str] = frozenset(), *, goes_on: bool = False
    ) -> list[int]:
        """Tokenize a marked text; ``lenient`` are the marks of texts that may hold a thought's markers.

        ``goes_on``: other text stands before it, so SentencePiece puts no blank at its head.
        """
        if not any(self._is_users(text, at, token, lenient) for at, token in self._spelled(text)):
            return _tokenize(model, text, goes_on, parse_special=True)
        tokens: list[int] = []
        for part in self._parts(text, lenient):
            tokens += [part] if isinstance(part, int) else self._plain(model, part, lenient, goes_on and not tokens)
        return tokens

    def _is_users(self, text: str, at: int, token: SpecialToken, lenient: frozenset[str]) -> bool:
        """Whether a user wrote any of this token, and so meant its text."""
        marks = set(marks_of(cut(text, at, at + len(token.text)))) - {OWN}
        if not token.is_control and token.text in THOUGHT_MARKS and marks <= lenient:
            return False
        return bool(marks)

    def _spelled(self, text: str) -> Iterator[tuple[int, SpecialToken]]:
        """Where a text spells guarded tokens, overlapping ones included."""
        if self._guarded:
            for match in self._begins.finditer(text):
                for token in self._by_begin[match[1]]:
                    if text.startswith(token.text, match.start()):
                        yield match.start(), token

    @cached_property
    def _by_begin(self) -> dict[str, list[SpecialToken]]:
        found: dict[str, list[SpecialToken]] = {}
        for token in self._guarded:
            found.setdefault(token.text[:2], []).append(token)
        return found

    @cached_property
    def _begins(self) -> re.Pattern[str]:
        begins = sorted(self._by_begin, key=len, reverse=True)
        return re.compile(f"(?=({'|'.join(map(re.escape, begins))}))")

    def _parts(self, text: str, lenient: frozenset[str]) -> list[str | int]:
        """Split as llama.cpp does: the longest tokens first, each from left to right."""
        guarded = set(self._guarded)
        parts: list[str | int] = [text]
        for token in self.tokens:
            if token.text not in text:
                continue
            split: list[str | int] = []
            for part in parts:
                split += [part] if isinstance(part, int) else self._split(part, token, token in guarded, lenient)
            parts = split
        return parts

    def _split(self, text: str, token: SpecialToken, is_guarded: bool, lenient: frozenset[str]) -> Iterator[str | int]:
        begin = at = 0
        while (at := text.find(token.text, at)) >= 0:
            if is_guarded and self._is_users(text, at, token, lenient):
                at += 1
                continue
            left = cut(text, begin, at)
            left = cut(left, 0, len(left.rstrip())) if token.strips_left else left
            if left:
                yield left
            yield token.id
            begin = at = at + len(token.text)
            while token.strips_right and begin < len(text) and text[begin].isspace():
                begin = at = begin + 1
        if begin < len(text):
            yield cut(text, begin)

    def _plain(self, model: Model, text: str, lenient: frozenset[str], goes_on: bool) -> list[int]:
        """Tokenize a text that is none of the template's control tokens."""
        spelled = [(at, token) for at, token in self._spelled(text) if self._is_users(text, at, token, lenient)]
        cuts = {at + 1 for at, token in spelled if not token.is_control}  # llama.cpp finds these in any text.
        tokens = _tokenize_cut(model, text, cuts, goes_on)
        if self._control.intersection(tokens):  # SentencePiece's merges make them, too.
            tokens = _tokenize_cut(model, text, {at + 1 for at, _ in spelled}, goes_on)
        return tokens


def _tokenize_cut(model: Model, text: str, cuts: set[int], goes_on: bool) -> list[int]:
    """Tokenize the pieces between the cuts, so that no token reaches over one."""
    tokens: list[int] = []
    for begin, end in pairwise([0, *sorted(cuts), len(text)]):
        tokens += _tokenize(model, text[begin:end], goes_on or begin > 0, parse_special=False)
    return tokens


def _tokenize(model: Model, text: str, goes_on: bool, *, parse_special: bool) -> list[int]:
    if not text:
        return []
    if goes_on:  # SentencePiece puts a blank before a text: here it stands before something that is taken off again.
        begin = model.tokenize("\n", add_special=False, parse_special=False)
        whole = model.tokenize("\n" + text, add_special=False, parse_special=parse_special)
        if whole[: len(begin)] == begin:
            return whole[len(begin) :]
    return model.tokenize(str(text), add_special=False, parse_special=parse_special)


def spans(text: str, with_mark: str) -> tuple[int, int] | None:
    """Return where the characters with a mark begin and end; None where there are none, or others among them."""
    if not isinstance(text, Marked):
        return None
    begin, end = text.marks.find(with_mark), text.marks.rfind(with_mark) + 1
    return (begin, end) if begin >= 0 and text.marks[begin:end] == with_mark * (end - begin) else None
