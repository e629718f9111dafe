"""What both models thought at each position of a recorded text, computed again from its tokens.

A trace keeps of p and q only the numbers of the tokens that were drafted and chosen: whole distributions would be
megabytes. Its prompt and text are enough to compute them again where they are wanted, in one pass of each model.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Any

import numpy as np

from exsa_lab.config import EngineConfig, SamplingParams
from exsa_lab.errors import ConfigError
from exsa_lab.runtime.protocol import Context, Logits, Model
from exsa_lab.speculation.sampling import Distribution, apply_chain, with_vocabulary
from exsa_lab.trace.trace import Trace

_CHUNK = 32
"""Rows of logits asked for at once."""
MAX_POSITIONS = 512
"""A position takes as many floats as the vocabulary has tokens, for each model."""


@dataclass(frozen=True, eq=False)
class Positions:
    """Logits of target and draft before each token of a text.

    Example::

        places = gen.positions()  # or engine.positions(trace)
        p, q = places.p(5, temperature=0.8, top_p=0.9), places.q(5, temperature=0.8, top_p=0.9)
        common_probability(p, q)  # how often a token drafted there is accepted
    """

    tokens: list[int]
    """The text's tokens: what came at each position."""
    target: Logits
    """Shape (positions, vocab_size), before the sampling chain."""
    draft: Logits | None
    """The same of the draft, given the same text; None where there is no draft."""
    model: Model = field(repr=False)

    def __len__(self) -> int:
        return len(self.tokens)

    def p(self, position: int, **params: Any) -> Distribution:
        """The target's distribution there after the chain of these `SamplingParams` (temperature 1 unless given)."""
        return apply_chain(self.target[position], _chain(params))

    def q(self, position: int, **params: Any) -> Distribution:
        """The draft's distribution there; raises ConfigError where there is no draft."""
        if self.draft is None:
            raise ConfigError("there is no draft model.", hint='Load one: xl.load(draft="auto").')
        return apply_chain(self.draft[position], _chain(params))

    def name(self, token: int) -> str:
        """A token's text."""
        return self.model.token_label(token)

    def text(self, end: int) -> str:
        """The text before a position."""
        return b"".join(map(self.model.token_bytes, self.tokens[:end])).decode("utf-8", "replace")


def read_positions(
    trace: Trace, target: Model, draft: Model | None, config: EngineConfig, *, n_threads: int
) -> Positions:
    """Compute the logits of target and draft at every position of a recorded text.

    It opens contexts of its own, by ``config``, on the calling thread, which must be the one that owns the models.
    Raises ConfigError for a trace without its prompt's tokens, one of another target, or one of more than
    `MAX_POSITIONS` tokens; OutOfMemory where there is no room.
    """
    _check(trace, target)
    size = len(trace.prompt_ids) + len(trace.tokens)
    config = replace(config, n_ctx=max(256, size), n_seq_max=1)

    def read(model: Model) -> Logits:
        with closing(model.open_context(config, n_threads)) as context:
            return _read(context, model, trace.prompt_ids, trace.tokens, target.vocab_size)

    return Positions(trace.tokens, read(target), read(draft) if draft is not None else None, target)


def common_probability(p: Distribution, q: Distribution) -> float:
    """Return the sum of min(p, q): how likely a token drawn from q is accepted (Leviathan et al. 2023)."""
    return float(np.minimum(p.probs, q.probabilities(p.tokens)).sum())


def match_probability(p: Distribution, q: Distribution) -> float:
    """Return the sum of p q: how likely two independent draws are the same token."""
    return float((p.probs * q.probabilities(p.tokens)).sum())


def _chain(params: dict[str, Any]) -> SamplingParams:
    return SamplingParams.from_kwargs(**{"temperature": 1.0, **params})


def _check(trace: Trace, target: Model) -> None:
    if not trace.prompt_ids:
        raise ConfigError("this trace does not hold its prompt's tokens.", hint="Record it again.")
    if len(trace.tokens) > MAX_POSITIONS:
        raise ConfigError(
            f"this text has {len(trace.tokens)} tokens, and at most {MAX_POSITIONS} are read.",
            hint="Generate with a smaller max_tokens.",
        )
    recorded = trace.models.get("target")
    if recorded is not None and recorded != target.name:
        raise ConfigError(f"this text is {recorded}'s, and {target.name} is loaded.", hint=f"Load {recorded} first.")


def _read(context: Context, model: Model, prompt: Sequence[int], text: Sequence[int], vocab_size: int) -> Logits:
    """One row before each token of the text: after the prompt, then after each token but the last."""
    # A draft of a smaller vocabulary reads something else in place of what it does not have, as it does when drafting.
    tokens = [token if token < model.vocab_size else 0 for token in (*prompt, *text)]
    batch, rows = context.new_batch(), [np.empty((0, vocab_size), np.float32)]
    first, end = len(prompt) - 1, len(tokens) - 1
    edges = [*range(0, first, context.n_batch), *range(first, end, min(_CHUNK, context.n_batch)), end]
    for start, stop in pairwise(edges):
        batch.clear()
        batch.add(tokens[start:stop], start, 0, stop - start if start >= first else 0)
        logits = context.decode(batch)
        if start >= first:
            rows.append(with_vocabulary(logits, vocab_size).copy())
    return np.concatenate(rows)
