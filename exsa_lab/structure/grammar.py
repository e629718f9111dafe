"""From a form to a compiled grammar, and along a text: which tokens may come, which must."""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from exsa_lab.errors import ConfigError, DecodeError
from exsa_lab.forms import Form
from exsa_lab.speculation.ngram import num_right
from exsa_lab.structure.tokenizer import llguidance

JSON_STYLE = {"whitespace_flexible": False, "item_separator": ", ", "key_separator": ": "}
"""JSON on one line, as `json.dumps` writes it: nothing is left to choose between values, and no blanks without end."""
_NAMES = {
    "json": "the JSON schema",
    "regex": "regex",
    "lark": "grammar",
    "gbnf": "grammar",
    "choice": "choice",
    "tools": "the schema of the tools",
}
_UNSUPPORTED = (
    (r"^Unimplemented keys: \[(.*)\]", "uses {}, which is not supported"),
    (r"^oneOf constraints", 'uses "oneOf" of parts that one text may fit together, which is not supported'),
    (r"^patternProperty regexes", 'uses "patternProperties" that one name may fit together, which is not supported'),
    (r"^min/maxProperties", 'uses "minProperties" or "maxProperties" with keys that may be left out, not supported'),
    (r"^Unknown format: (\S*)", 'uses the "format" {}, which is not supported'),
    (r"(?s)^regex parse error.*error: (.*)", 'has a "pattern" that is not supported: {}'),
    (r"^Failed to generate regex for .* range", 'has a "minimum" or "maximum" of a size that is not supported'),
    (r"^Resource '(.*?)' is not present", 'refers by "$ref" to {}, which is no part of it'),
    (r"^(?:Pointer|Anchor) '(.*?)' does not exist", 'refers by "$ref" to {}, which is no part of it'),
)
"""What llguidance says of a JSON schema that it cannot keep, and how that is told."""
_LITERAL = re.compile(r'"(?:[^"\\\n]|\\.)*"|\[(?:[^\]\\\n]|\\.)*\]|#.*')
"""Literals of GBNF; and classes and comments, in which a quote begins none."""
_ESCAPE = re.compile(r"\\(?:x([0-9a-fA-F]{2})|u([0-9a-fA-F]{4})|U([0-9a-fA-F]{8})|.)")
Flags = NDArray[np.bool_]


class Grammar:
    """A compiled form for one vocabulary. Every text gets a `GrammarMask` of its own from it.

    Raises ConfigError where the form is wrong, uses what is not supported, or admits no text.
    """

    def __init__(self, form: Form, tokenizer: Any) -> None:
        library = llguidance()
        name = _NAMES[form.kind]
        limits = library.LLParserLimits(verbose_errors=False)
        self._matcher = library.LLMatcher(tokenizer, _source(form, library.LLMatcher), log_level=0, limits=limits)
        if self._matcher.is_error():
            raise _refusal(name, str(self._matcher.get_error()))
        self._tokenizer = tokenizer
        flags, reason = _flags(self._matcher, tokenizer.vocab_size), str(self._matcher.get_error())
        if reason and not reason.startswith("NoExtension"):
            raise _refusal(name, reason)
        if reason or not flags.any():
            raise ConfigError(f"{name} admits no text at all.", hint="Check it for parts that exclude each other.")

    def begin(self, suppressed: frozenset[int] = frozenset()) -> GrammarMask:
        """Return the mask of a new text. ``suppressed`` are tokens that never come: no text is cut into these."""
        return GrammarMask(self._matcher.deep_copy(), self._tokenizer, suppressed)


@dataclass(slots=True)
class _Place:
    """What is known of one place of a text."""

    is_complete: bool
    """Whether the text up to there has the form, and nothing can follow it."""
    flags: Flags | None = None
    """Which tokens may come there; None where nobody asked yet."""
    run: list[int] | None = None
    """What is left there of a continuation that is the only one; None where nobody asked yet."""


class GrammarMask:
    """Which tokens may follow a text. Owned by one sequence; see `exsa_lab.speculation.shaping.Mask`.

    The grammar's state moves along a draft and back, and what was found on the way is kept: drafting, verifying and
    committing ask for the same places. Where only one continuation is possible, its tokens are those that the tokenizer
    would make of it, and each is the only one allowed: how such a text is cut into tokens depends on what stands before
    it alone, so that plain and speculative decoding allow the same.

    Example::

        mask = grammar.begin()
        mask.forced()             # [5, 9]: what must come
        mask.allowed([5, 9])      # after these, one flag for each token of the vocabulary
        mask.commit([5, 9])
    """

    def __init__(self, matcher: Any, tokenizer: Any, suppressed: frozenset[int]) -> None:
        self._matcher = matcher
        self._tokenizer = tokenizer
        self._ends = frozenset(tokenizer.eos_tokens)
        self._suppressed = suppressed
        # An end token, and what a draft holds after it, is not given to the matcher, which would count it wrong when it
        # goes back: so many of the drafted tokens are held here alone.
        self._num_beyond = 0
        self._vocab_size = int(tokenizer.vocab_size)
        self._drafted: list[int] = []
        """The tokens after the committed ones that the matcher stands behind."""
        self._places = [self._here()]
        """The end of the committed text, and the place after each drafted token."""

    @property
    def is_complete(self) -> bool:
        """Whether the committed text has the form, and nothing can follow it."""
        return self._places[0].is_complete

    def allowed(self, drafted: Sequence[int]) -> Flags:
        """See `exsa_lab.speculation.shaping.Mask`; raises DecodeError where the draft left the grammar."""
        place = self._place(drafted)
        if place.flags is None:
            place.flags = self._compute(drafted)
        return place.flags

    def admits(self, drafted: Sequence[int], token: int) -> bool:
        """See `exsa_lab.speculation.shaping.Mask`. Far cheaper than all flags, where nobody needed them yet."""
        place = self._place(drafted)
        if place.flags is not None:
            return bool(place.flags[token])
        if run := self._run(drafted):
            return token == run[0]
        if self._drafted[len(drafted) : len(drafted) + 1] == [token]:
            return True
        if place.is_complete or token in self._ends:
            return bool(self.allowed(drafted)[token])
        self._move(drafted)
        if not self._matcher.try_consume_tokens([token]):
            return False
        self._add(token)  # nearly always it will be the next one
        return True

    def forced(self, drafted: Sequence[int] = ()) -> list[int]:
        """Return the tokens that must follow the committed text and these drafted ones, as far as they are certain."""
        return list(self._run(drafted))

    def fitting(self, proposed: Sequence[int]) -> list[int]:
        """Return the beginning of these tokens that may follow the committed text."""
        for num, token in enumerate(proposed):
            if not self.admits(proposed[:num], token):
                return list(proposed[:num])
        return list(proposed)

    def commit(self, tokens: Sequence[int]) -> None:
        """See `exsa_lab.speculation.shaping.Mask`."""
        num = len(tokens)
        if num_right(self._drafted, tokens) < num:
            self._move(tokens)
        del self._drafted[:num], self._places[:num]

    def _here(self) -> _Place:
        """The place where the matcher stands."""
        return _Place(self._num_beyond > 0 or (self._matcher.is_stopped() and not self._matcher.is_error()))

    def _place(self, drafted: Sequence[int]) -> _Place:
        """What is known of the place after these tokens; the matcher goes there where it has not been."""
        if num_right(self._drafted, drafted) < len(drafted):
            self._move(drafted)
        return self._places[len(drafted)]

    def _run(self, drafted: Sequence[int]) -> list[int]:
        """What must follow these tokens."""
        place = self._place(drafted)
        if place.run is None:
            self._move(drafted)
            is_over = self._num_beyond > 0 or self._matcher.is_stopped()
            place.run = [] if is_over else self._not_suppressed(self._matcher.compute_ff_tokens())
        return place.run

    def _not_suppressed(self, run: list[int]) -> list[int]:
        """The tokens up to one that is suppressed; where that is the first, the longest other beginning of its text."""
        if not run or self._suppressed.isdisjoint(run):
            return run
        if run[0] not in self._suppressed:
            return list(itertools.takewhile(lambda token: token not in self._suppressed, run))
        text = self._tokenizer.decode_bytes(run[:1])
        cuts = (self._tokenizer.tokenize_bytes(text[:end]) for end in range(len(text) - 1, 0, -1))
        return next((cut for cut in cuts if len(cut) == 1 and cut[0] not in self._suppressed), [])

    def _compute(self, drafted: Sequence[int]) -> Flags:
        """Compute which tokens may follow these."""
        if run := self._run(drafted):
            flags = np.zeros(self._vocab_size, np.bool_)
            flags[run[0]] = True
            return flags
        self._move(drafted)
        if self._num_beyond:  # nobody looks at what comes then
            return np.ones(self._vocab_size, np.bool_)
        return _flags(self._matcher, self._vocab_size)

    def _move(self, tokens: Sequence[int]) -> None:
        num, held = num_right(self._drafted, tokens), len(self._drafted)
        if num < held:
            if not self._matcher.rollback(max(0, held - num - self._num_beyond)):
                raise self._failure()
            self._num_beyond = max(0, self._num_beyond - (held - num))
            del self._drafted[num:], self._places[num + 1 :]
        for token in tokens[num:]:
            self._consume(token)

    def _consume(self, token: int) -> None:
        if self._num_beyond or (token in self._ends and self._matcher.is_accepting()):
            self._num_beyond += 1
        elif not self._matcher.consume_token(token):
            raise self._failure()
        self._add(token)

    def _add(self, token: int) -> None:
        """The matcher stands behind one more drafted token."""
        run = self._places[-1].run
        self._drafted.append(token)
        self._places.append(self._here())
        if run and len(run) > 1 and run[0] == token:
            self._places[-1].run = run[1:]

    def _failure(self) -> DecodeError:
        return DecodeError(
            f"the grammar could not go on: {_first_line(str(self._matcher.get_error()))}.", hint="Simplify the form."
        )


def _source(form: Form, matcher: Any) -> str:
    """The form as llguidance reads it."""
    text = form.text
    if form.kind == "json":
        try:
            return str(matcher.grammar_from_json_schema(text, defaults=JSON_STYLE))
        except ValueError as cause:
            raise _refusal(_NAMES["json"], str(cause)) from None
    if form.kind == "regex":
        return str(matcher.grammar_from_regex(text))
    if form.kind == "choice":
        choices = [json.dumps(choice, ensure_ascii=False) for choice in json.loads(text)]
        return str(matcher.grammar_from_lark("start: CHOICE\nCHOICE: " + " | ".join(choices)))  # one of any number
    return str(matcher.grammar_from_lark(_lark(text) if form.kind == "gbnf" else text))  # Lark: "lark", "tools"


def _lark(gbnf: str) -> str:
    from llguidance.gbnf_to_lark import gbnf_to_lark

    try:
        return str(gbnf_to_lark(_LITERAL.sub(_with_characters, gbnf)))
    except Exception as cause:  # it raises bare ones
        raise _refusal("grammar", str(cause)) from None


def _with_characters(literal: re.Match[str]) -> str:
    """A GBNF literal or class with characters in place of their numbers, which Lark does not know."""

    def character(escape: re.Match[str]) -> str:
        digits = next(filter(None, escape.groups()), None)
        if digits is None:
            return escape[0]
        number = int(digits, 16)
        if literal[0][0] == '"':
            return json.dumps(chr(number), ensure_ascii=False)[1:-1]
        return chr(number) if number > 127 else f"\\x{number:02x}"

    return literal[0] if literal[0][0] == "#" else _ESCAPE.sub(character, literal[0])


def _refusal(name: str, reason: str) -> ConfigError:
    """Say in one line what llguidance has against a form."""
    for pattern, what in _UNSUPPORTED if name == _NAMES["json"] else ():
        if found := re.search(pattern, reason):
            told = what.format(*found.groups())
            return ConfigError(f"{name} {told}.", hint="Leave it out, or say it otherwise.")
    if reason.startswith("Unsatisfiable schema"):
        return ConfigError(f"{name} admits no text at all: {_first_line(reason.partition(':')[2])}.", hint="Check it.")
    return ConfigError(f"{name} is not valid: {_first_line(reason)}.", hint="Check it for mistakes.")


def _first_line(text: str) -> str:
    """What an error says in words, without the picture it draws."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    said = [line for line in lines if line.startswith("error:")]
    return (said[0].removeprefix("error:") if said else lines[0] if lines else "no reason given").strip(" .:")[:200]


def _flags(matcher: Any, vocab_size: int) -> Flags:
    bits = np.frombuffer(matcher.compute_bitmask(), np.uint8)
    return np.unpackbits(bits, count=vocab_size, bitorder="little").view(np.bool_)
