"""Probabilities of tokens in the forms of OpenAI's two interfaces."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from exsa_lab.events import TokenEvent
from exsa_lab.runtime.protocol import Model

IMPOSSIBLE = -9999.0
"""What stands for the logarithm of 0, as in OpenAI's interface."""


def chat_logprobs(tokens: Sequence[TokenEvent], model: Model) -> dict[str, Any]:
    """Return the ``logprobs`` of a chat completion's choice, or of a piece of it."""
    return {"content": [_entry(event, model) for event in tokens], "refusal": None}


def _entry(event: TokenEvent, model: Model) -> dict[str, Any]:
    raw = model.token_bytes(event.token_id)
    return {"token": _text(raw), "logprob": _logprob(event.p), "bytes": list(raw), "top_logprobs": []}


def completion_logprobs(tokens: Sequence[TokenEvent], model: Model, offset: int) -> dict[str, Any]:
    """Return the ``logprobs`` of a completion's choice; ``offset`` is the number of characters before."""
    offsets = []
    for event in tokens:
        offsets.append(offset)
        offset += len(event.text)
    return {
        "tokens": [_text(model.token_bytes(event.token_id)) for event in tokens],
        "token_logprobs": [_logprob(event.p) for event in tokens],
        "top_logprobs": None,
        "text_offset": offsets,
    }


def _text(raw: bytes) -> str:
    return raw.decode("utf-8", "replace")


def _logprob(p: float | None) -> float:
    return math.log(p) if p else IMPOSSIBLE
