"""Probabilities of tokens in the forms of OpenAI's two interfaces: the model's own, before temperature and masks."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Any

from exsa_lab.events import PromptTokenEvent, TokenEvent
from exsa_lab.prompts.token_prompt import token_texts
from exsa_lab.runtime.protocol import Model

IMPOSSIBLE = -9999.0
"""What stands for the logarithm of 0, as in OpenAI's interface."""

Json = dict[str, Any]


def chat_logprobs(tokens: Sequence[TokenEvent], most: int, model: Model) -> Json:
    """Return the ``logprobs`` of a chat completion's choice, or of a piece of it, with ``most`` alternatives each."""
    return {"content": [_entry(event, most, model) for event in _written(tokens, model)], "refusal": None}


def _entry(event: TokenEvent, most: int, model: Model) -> Json:
    top = [_token(other.token_id, _log(other.raw), model) for other in event.top[:most]]
    return {**_token(event.token_id, _logprob(event), model), "top_logprobs": top}


def _token(token: int, logprob: float, model: Model) -> Json:
    raw = model.token_bytes(token)
    return {"token": _text(token, model), "logprob": logprob, "bytes": list(raw)}


def completion_logprobs(tokens: Sequence[TokenEvent], most: int, model: Model, offset: int) -> Json:
    """Return the ``logprobs`` of a completion's choice; ``offset`` is the number of characters before."""
    written = _written(tokens, model)
    return _columns([(event, event.text, _logprob(event)) for event in written], most, model, offset)


def prompt_logprobs(tokens: Sequence[PromptTokenEvent], most: int, model: Model) -> Json:
    """Return the ``logprobs`` of the tokens of a whole prompt. The first one follows nothing, and has none."""
    texts = token_texts((event.token_id for event in tokens), model)
    rows = [(event, text, event.logprob) for event, text in zip(tokens, texts, strict=True)]
    return _columns(rows, most, model, 0)


def joined_logprobs(first: Json, second: Json) -> Json:
    """Return those of a prompt and of what follows as one."""
    return {name: None if values is None else values + second[name] for name, values in first.items()}


def _columns(
    rows: Sequence[tuple[TokenEvent | PromptTokenEvent, str, float | None]], most: int, model: Model, offset: int
) -> Json:
    lengths = [len(text) for _, text, _ in rows]
    top = [
        None if logprob is None else {_text(other.token_id, model): _log(other.raw) for other in event.top[:most]}
        for event, _, logprob in rows
    ]
    return {
        "tokens": [_text(event.token_id, model) for event, _, _ in rows],
        "token_logprobs": [logprob for _, _, logprob in rows],
        "top_logprobs": top if most else None,
        "text_offset": list(itertools.accumulate(lengths, initial=offset))[:-1],
    }


def _written(tokens: Sequence[TokenEvent], model: Model) -> list[TokenEvent]:
    """Without the token that ended the text, which is no part of it."""
    return [event for event in tokens if not model.is_end(event.token_id)]


def _text(token: int, model: Model) -> str:
    raw = model.token_bytes(token)
    return raw.decode("utf-8", "replace") if raw else model.token_label(token)


def _logprob(event: TokenEvent) -> float:
    return 0.0 if event.logprob is None else event.logprob  # no model was asked: it had to follow


def _log(p: float) -> float:
    return math.log(p) if p > 0 else IMPOSSIBLE
