"""From a user's prompt to tokens."""

from __future__ import annotations

import copy

from exsa_lab.config import SamplingParams
from exsa_lab.errors import ConfigError, PromptTooLong, shown
from exsa_lab.models.chat_template import check_messages
from exsa_lab.runtime.protocol import Model


def own_prompt(prompt: object, params: SamplingParams) -> str | list[dict[str, str]]:
    """Return a prompt that nobody else can change; raises ConfigError for what is none."""
    if isinstance(prompt, str):
        return str(prompt)
    if not isinstance(prompt, list):
        raise ConfigError(f"the prompt is {shown(prompt)}.", hint="Give a text, or a list of messages.")
    if not params.chat:
        raise ConfigError("a list of messages needs chat=True.", hint="Raw completion takes one text.")
    check_messages(prompt)
    return copy.deepcopy(prompt)


def encode_prompt(model: Model, prompt: str | list[dict[str, str]], params: SamplingParams, n_ctx: int) -> list[int]:
    """Render and tokenize a prompt.

    Raises ConfigError for an empty or malformed prompt, PromptTooLong when it leaves no room for a token.
    """
    tokens = _chat_tokens(model, prompt, params) if params.chat else _raw_tokens(model, prompt)
    if not tokens:
        raise ConfigError("the prompt is empty.", hint="Write something in the cell.")
    if len(tokens) >= n_ctx:
        raise PromptTooLong(
            f"the prompt has {len(tokens):,} tokens and the context holds {n_ctx:,}.",
            hint="Shorten it, or load with a larger n_ctx.",
        )
    return tokens


def _chat_tokens(model: Model, prompt: str | list[dict[str, str]], params: SamplingParams) -> list[int]:
    messages = [{"role": "user", "content": prompt}] if isinstance(prompt, str) else list(prompt)
    if isinstance(prompt, str) and not prompt.strip():
        raise ConfigError("the prompt is empty.", hint="Write something in the cell.")
    if params.system is not None:
        messages = [{"role": "system", "content": params.system}, *messages]
    # The template writes the special tokens itself, the BOS among them.
    return model.tokenize(model.render_chat(messages), add_special=False, parse_special=True)


def _raw_tokens(model: Model, prompt: str | list[dict[str, str]]) -> list[int]:
    if not isinstance(prompt, str):
        raise ConfigError("a list of messages needs chat=True.", hint="Raw completion takes one text.")
    return model.tokenize(prompt, add_special=True, parse_special=False) if prompt else []
