"""From a form to a compiled grammar, and along a text: which tokens may come, which must."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from exsa_lab.errors import ConfigError, DecodeError
from exsa_lab.forms import Form
from exsa_lab.structure.tokenizer import llguidance

_JSON_STYLE = {"whitespace_flexible": False, "item_separator": ", ", "key_separator": ": "}
"""JSON on one line, as `json.dumps` writes it: nothing is left to choose between values, and no blanks without end."""
_NAMES = {"json": "the JSON schema", "regex": "regex", "lark": "grammar", "gbnf": "grammar", "choice": "choice"}
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
        self._vocab_size = int(tokenizer.vocab_size)
        self._ends = frozenset(tokenizer.eos_tokens)
        if not _flags(self._matcher, self._vocab_size).any():
            raise ConfigError(f"{name} admits no text at all.", hint="Check it for parts that exclude each other.")

    def begin(self) -> GrammarMask:
        """Return the mask of a new text."""
        return GrammarMask(self._matcher.deep_copy(), self._vocab_size, self._ends)


class GrammarMask:
    """Which tokens may follow a text. Owned by one sequence; see `exsa_lab.speculation.shaping.Mask`.

    The grammar's state moves along a draft and back. Where only one continuation is possible, its tokens are those
    that the tokenizer would make of it, and each is the only one allowed: how such a text is cut into tokens
    depends on what stands before it alone, so that plain and speculative decoding allow the same.

    Example::

        mask = grammar.begin()
        mask.forced()             # [5, 9]: what must come
        mask.allowed([5, 9])      # after these, one flag for each token of the vocabulary
        mask.commit([5, 9])
    """

    def __init__(self, matcher: Any, vocab_size: int, ends: frozenset[int]) -> None:
        self._matcher = matcher
        self._ends = ends
        # An end token, and what a draft holds after it, is not given to the matcher, which would count it wrong when it
        # goes back: so many of the drafted tokens are held here alone.
        self._num_beyond = 0
        self._vocab_size = vocab_size
        self._drafted: list[int] = []
        # For each place from the committed text on: what is left there of a continuation that is the only one; None
        # where nobody looked yet.
        self._runs: list[list[int] | None] = [None]

    @property
    def is_complete(self) -> bool:
        """Whether the committed text has the form, and nothing can follow it."""
        self._move([])
        return self._num_beyond > 0 or (bool(self._matcher.is_stopped()) and not self._matcher.is_error())

    @property
    def is_accepted(self) -> bool:
        """Whether the committed text has the form already; more may follow."""
        self._move([])
        return self._num_beyond > 0 or bool(self._matcher.is_accepting())

    def allowed(self, drafted: Sequence[int]) -> Flags:
        """See `exsa_lab.speculation.shaping.Mask`; raises DecodeError where the draft left the grammar."""
        self._move(drafted)
        if self._num_beyond:  # nobody looks at what comes then
            return np.ones(self._vocab_size, np.bool_)
        flags = _flags(self._matcher, self._vocab_size)
        run = self._run(flags)
        if run:
            flags = np.zeros(self._vocab_size, np.bool_)
            flags[run[0]] = True
        return flags

    def forced(self) -> list[int]:
        """Return the tokens that must follow the committed text, as far as they are certain."""
        self._move([])
        return [] if self._num_beyond else list(self._run(_flags(self._matcher, self._vocab_size)))

    def commit(self, tokens: Sequence[int]) -> None:
        """See `exsa_lab.speculation.shaping.Mask`."""
        self._move(tokens)
        self._drafted, self._runs = [], self._runs[-1:]

    def _run(self, flags: Flags) -> list[int]:
        run = self._runs[-1]
        if run is None:
            run = []
            if np.count_nonzero(flags) == 1 and not self._matcher.is_stopped():
                run = [int(token) for token in self._matcher.compute_ff_tokens()]
            self._runs[-1] = run
        return run

    def _move(self, tokens: Sequence[int]) -> None:
        num, held = 0, len(self._drafted)
        while num < min(held, len(tokens)) and self._drafted[num] == tokens[num]:
            num += 1
        if num < held:
            if not self._matcher.rollback(max(0, held - num - self._num_beyond)):
                raise self._failure()
            self._num_beyond = max(0, self._num_beyond - (held - num))
            del self._drafted[num:], self._runs[num + 1 :]
        for token in tokens[num:]:
            self._consume(token)

    def _consume(self, token: int) -> None:
        run = self._runs[-1]
        if self._num_beyond or (token in self._ends and self._matcher.is_accepting()):
            self._num_beyond += 1
        elif not self._matcher.consume_token(token):
            raise self._failure()
        self._drafted.append(token)
        self._runs.append(run[1:] if run and len(run) > 1 and run[0] == token else None)

    def _failure(self) -> DecodeError:
        return DecodeError(
            f"the grammar could not go on: {_first_line(str(self._matcher.get_error()))}.", hint="Simplify the form."
        )


def _source(form: Form, matcher: Any) -> str:
    """The form as llguidance reads it."""
    text = form.text
    if form.kind == "json":
        return str(matcher.grammar_from_json_schema(text, defaults=_JSON_STYLE))
    if form.kind == "regex":
        return str(matcher.grammar_from_regex(text))
    if form.kind == "choice":
        choices = [json.dumps(choice, ensure_ascii=False) for choice in json.loads(text)]
        return str(matcher.grammar_from_lark("start: " + " | ".join(choices)))
    return str(matcher.grammar_from_lark(_lark(text) if form.kind == "gbnf" else text))


def _lark(gbnf: str) -> str:
    from llguidance.gbnf_to_lark import gbnf_to_lark

    try:
        return str(gbnf_to_lark(gbnf))
    except Exception as cause:  # it raises bare ones
        raise _refusal("grammar", str(cause)) from None


def _refusal(name: str, reason: str) -> ConfigError:
    """Say in one line what llguidance has against a form."""
    if reason.startswith("Unimplemented keys:"):
        keys = reason.partition(":")[2].strip(" []")
        return ConfigError(f"{name} uses {keys}, which is not supported.", hint="Leave it out, or say it otherwise.")
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
