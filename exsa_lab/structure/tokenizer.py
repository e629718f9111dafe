"""A model's vocabulary as llguidance wants it."""

from __future__ import annotations

import functools
from typing import Any

from exsa_lab.errors import ConfigError, RuntimeUnavailable, how_to_install
from exsa_lab.runtime.protocol import Model

_SPECIAL = b"\xff"
"""What llguidance marks tokens with that are no text: a grammar can name them, and a text never becomes one."""

MAX_KEPT = 4096
"""Texts whose tokens are kept: a form asks for the same few at every place where it leaves no choice."""


def llguidance() -> Any:
    """Import llguidance when it is first used; raises RuntimeUnavailable where it is missing."""
    try:
        import llguidance as library
    except ImportError as cause:
        raise RuntimeUnavailable(
            "a text of a given form needs llguidance, which is not installed.",
            hint=how_to_install("llguidance"),
        ) from cause
    return library


def new_tokenizer(model: Model) -> Any:
    """Return llguidance's tokenizer of a model. It takes a few tenths of a second for 50,000 tokens: keep it.

    Raises ConfigError for a model without an end token, whose texts would never be complete.
    """
    library, ends = llguidance(), list(model.token_rules.ends)
    if not ends:
        raise ConfigError(
            f"{model.name} has no end token, so a text of a given form could not end.", hint="Use another model."
        )
    wrapper = library.TokenizerWrapper(_Vocabulary(model, ends[0]))
    return library.LLTokenizer(wrapper, n_vocab=model.vocab_size, eos_token=ends)


class _Vocabulary:
    """What `llguidance.TokenizerWrapper` asks for."""

    bos_token_id = None

    def __init__(self, model: Model, end: int) -> None:
        self.eos_token_id = end
        specials = {token.id: token.text for token in model.token_rules.specials if token.is_control}
        self.special_token_ids = sorted(specials)
        self.tokens = [
            _SPECIAL + specials[token].encode() if token in specials else model.token_bytes(token)
            for token in range(model.vocab_size)
        ]
        self._model = model
        # Some vocabularies begin every text with a blank: what follows a sign of its own has none.
        self._sign = model.tokenize("\x02", add_special=False, parse_special=False)
        self._tokenized = functools.lru_cache(MAX_KEPT)(self._tokenize)

    def __call__(self, text: str | bytes) -> list[int]:
        return list(self._tokenized(text.decode("utf-8", "replace") if isinstance(text, bytes) else text))

    def _tokenize(self, text: str) -> list[int]:
        found = self._model.tokenize("\x02" + text, add_special=False, parse_special=False)
        if found[: len(self._sign)] == self._sign:
            return found[len(self._sign) :]
        return self._model.tokenize(text, add_special=False, parse_special=False)
