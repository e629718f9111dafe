"""From a request's parameters to what is done to its logits."""

from __future__ import annotations

from exsa_lab.config import SamplingParams
from exsa_lab.errors import ConfigError, shown
from exsa_lab.runtime.protocol import Model
from exsa_lab.speculation.shaping import Mask, Penalties, Shaping


def begin_shaping(
    params: SamplingParams, model: Model, prompt: list[int], mask: Mask | None = None, *, excluded: int | None = None
) -> Shaping | None:
    """Return what a request does to its logits after these prompt tokens; None where it does nothing.

    ``excluded`` is a token that does not come next; after that it may.
    Raises ConfigError for a token that the model does not have.
    """
    bias = {find_token("logit_bias", token, model): value for token, value in params.logit_bias.items()}
    suppressed = suppressed_tokens(params, model)
    penalties = _penalties(params)
    if not bias and not suppressed and penalties is None and mask is None and excluded is None:
        return None
    if penalties is not None:
        penalties.commit(prompt)
    return Shaping(bias=bias, penalties=penalties, suppressed=suppressed, mask=mask, excluded=excluded)


def suppressed_tokens(params: SamplingParams, model: Model) -> frozenset[int]:
    """Return the tokens that never come, by the request or by the model's file; raises as `begin_shaping` does."""
    own = [find_token("suppress_tokens", token, model) for token in params.suppress_tokens]
    return frozenset([*own, *(token for token in model.token_rules.suppressed if 0 <= token < model.vocab_size)])


def _penalties(params: SamplingParams) -> Penalties | None:
    is_neutral = params.repeat_penalty == 1.0 and params.presence_penalty == 0.0 and params.frequency_penalty == 0.0
    if is_neutral or params.penalty_last_n == 0:
        return None
    return Penalties(
        repeat=params.repeat_penalty,
        presence=params.presence_penalty,
        frequency=params.frequency_penalty,
        last_n=params.penalty_last_n,
    )


def find_token(name: str, token: int | str, model: Model) -> int:
    """Return a token of the model by number, or by the text of a single one; raises ConfigError naming ``name``."""
    if isinstance(token, int):
        if token >= model.vocab_size:
            raise ConfigError(
                f"{name} names token {token}, which {model.name} does not have.",
                hint=f"Its tokens are 0 to {model.vocab_size - 1}.",
            )
        return token
    found = model.tokenize(token, add_special=False, parse_special=True)
    exact = [each for each in found if model.token_label(each) == token]
    if len(found) == 1 or len(exact) == 1:
        return exact[0] if exact else found[0]
    raise ConfigError(
        f"{name} names {shown(token)}, which is not one token of {model.name} but {len(found)}.",
        hint=f"Give their numbers: {', '.join(map(str, found[:8]))}.",
    )
