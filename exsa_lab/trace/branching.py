"""Where another text leaves a recorded one: what is kept of it, and the token that is taken instead."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

from exsa_lab.config import whole
from exsa_lab.errors import ConfigError, shown
from exsa_lab.events import Source, TokenEvent
from exsa_lab.runtime.protocol import Model
from exsa_lab.speculation.alternatives import IMPOSSIBLE
from exsa_lab.structure.request import find_token


def check_position(position: object, num_tokens: int) -> int:
    """Return the index of a token among so many; raises ConfigError where there is none."""
    if not num_tokens:
        raise ConfigError("there is no token yet to branch off at.", hint="Wait for the first one.")
    return whole("position", position, 0, num_tokens - 1)


def chosen_token(token: object, model: Model) -> int:
    """Return a token given by its number, or by its text; raises ConfigError where the model has no such one."""
    if isinstance(token, str):
        if not token:
            raise ConfigError("token is empty.", hint="A token is given by its number or its text.")
        return find_token("token", token, model)
    try:
        return find_token("token", whole("token", token, 0, (1 << 31) - 1), model)
    except ConfigError as error:
        raise ConfigError(f"token is {shown(token)}.", hint="Give its number or its text.") from error


def kept_events(events: Sequence[TokenEvent], position: int, token: int | None) -> tuple[TokenEvent, ...]:
    """Return the events of a text up to a position, and of the token chosen there; None leaves that open.

    What was recorded of the place goes with the chosen token.
    """
    kept = [replace(event, source=Source.KEPT) for event in events[:position]]
    if token is not None:
        kept.append(_chosen(events[position], token))
    return tuple(kept)


def _chosen(there: TokenEvent, token: int) -> TokenEvent:
    if token == there.token_id:
        return replace(there, source=Source.CHOSEN, u=None)
    known = next((other for other in there.top if other.token_id == token), None)
    return replace(
        there,
        token_id=token,
        text="",
        source=Source.CHOSEN,
        p=known.p if known else None,
        q=known.q if known else None,
        u=None,
        drafter=None,
        logprob=None if known is None else math.log(known.raw) if known.raw > 0 else IMPOSSIBLE,
    )
