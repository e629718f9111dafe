"""A prompt that consists of tokens already."""

from __future__ import annotations

import codecs
from collections.abc import Iterable, Iterator
from typing import TypeGuard

from exsa_lab.errors import ConfigError, shown
from exsa_lab.prompts.encode import Continuation
from exsa_lab.runtime.protocol import Model


def is_tokens(prompt: object) -> TypeGuard[list[int]]:
    """Whether it is a list of tokens by number."""
    return isinstance(prompt, list | tuple) and bool(prompt) and all(type(token) is int for token in prompt)


def unknown_token(tokens: list[int], model: Model) -> int | None:
    """Return the first of the tokens that the model does not have."""
    return next((token for token in tokens if not 0 <= token < model.vocab_size), None)


def token_texts(tokens: Iterable[int], model: Model) -> Iterator[str]:
    """Yield the text of each token: a character of several is the last one's, one that is not complete nobody's."""
    decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
    for token in tokens:
        yield decoder.decode(model.token_bytes(token))


def token_prompt(tokens: list[int], model: Model, *, chat: bool) -> tuple[str, Continuation]:
    """Return the text of a prompt of tokens, to be shown, and the tokens to go on with; raises ConfigError.

    They are taken as they are: nothing is put before them, and control tokens, which have no text, stay what they are.
    """
    if chat:
        raise ConfigError("a list of tokens needs chat=False.", hint="A chat is a text, or a list of messages.")
    if (token := unknown_token(tokens, model)) is not None:
        raise ConfigError(
            f"the prompt holds {shown(token)}, and the model has tokens from 0 to {model.vocab_size - 1:,}.",
            hint="Tokenize it with this model's own tokenizer.",
        )
    text = "".join(token_texts(tokens, model))
    return text, Continuation(list(tokens), num_written=len(tokens))
