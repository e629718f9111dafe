"""Which draft tokens are kept: lossless accept/reject of one sequence's draft against the target.

The text is distributed exactly as if the target had decoded it alone (Leviathan et al. 2023, Algorithm 1,
arXiv 2211.17192; Chen et al. 2023, arXiv 2302.01318). Pure numpy: no model, no batch, no clock.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from exsa_lab.config import SamplingParams
from exsa_lab.events import Source
from exsa_lab.speculation.sampling import Distribution, RequestRandom, Row, Softmax, apply_chain, greedy_token
from exsa_lab.speculation.shaping import Shaping


@dataclass(frozen=True, slots=True)
class DraftCheck:
    """One draft token tested against the target."""

    token: int
    p: float | None
    """The target's probability of it; None where it was not asked for."""
    q: float | None
    """The draft's probability of it; None where it was not asked for."""
    u: float | None
    """The uniform number that decided; None under greedy decoding, where none is needed."""
    accepted: bool


@dataclass(frozen=True, slots=True)
class Verdict:
    """What one round commits: the first ``accepted`` draft tokens, then ``token``."""

    accepted: int
    token: int
    """The target's own token after the accepted run."""
    source: Source
    """TARGET where nothing was drafted, RESAMPLED after a refused draft token, BONUS after a draft accepted whole."""
    p: float | None
    """The target's probability of ``token``; None where it was not asked for."""
    u: float | None
    """The uniform number that drew ``token``; None under greedy decoding."""
    checks: list[DraftCheck] = field(default_factory=list)
    """The tested draft tokens in order: the accepted ones, then the refused one if there is one."""
    residual: float | None = None
    """The residual's probability of ``token``, where it was drawn in place of a refused one."""


def accept(
    draft: Sequence[int],
    draft_dists: Sequence[Distribution | None],
    target_rows: NDArray[np.float32],
    params: SamplingParams,
    random: RequestRandom,
    position: int,
    *,
    draft_probs: Sequence[float | None] = (),
    with_probabilities: bool = True,
    shaping: Shaping | None = None,
) -> Verdict:
    """Test a draft of k tokens, k >= 0, against the target's logits, and choose the token that follows.

    ``target_rows`` has shape (k + 1, vocab_size): row i is the target's logits after ``draft[:i]``. ``draft_dists``
    holds what each draft token was drawn from, None (or one-hot) where it was not drawn but chosen; greedy decoding
    does not look at it. ``position`` is the index of the first token of this round among the generated ones.

    ``shaping`` changes each row that is reached first, by the draft tokens before it: all that follows is meant of the
    shaped rows.

    Temperature 0: a draft token is accepted where it is the target's best token. ``p`` is then the target's own
    probability at temperature 1, and ``q`` is taken from ``draft_probs`` (1 where none are given). Without
    ``with_probabilities`` that pass over the row is saved, and ``p`` is None.

    Otherwise p is the target's distribution after the request's whole chain, computed only for rows that are reached:

    * A token x drawn from q is accepted with probability min(1, p(x) / q(x)); in place of the first refused one a
      token is drawn from max(p - q, 0), normalised. After a draft accepted whole a bonus token is drawn from p.
    * A token x that was chosen (an n-gram's proposal, a greedy draft) is compared with y, drawn from p as plain
      sampling would: if y is x it is accepted, otherwise y takes its place. That is the same rule with q(x) = 1: x is
      accepted with probability p(x), and y given y != x is a draw from the residual. The text is then, token by
      token, the one plain sampling gives with the same seed, whatever was drafted.

    Raises DecodeError where a row that is reached is not numbers.
    """
    if len(target_rows) != len(draft) + 1:
        raise ValueError(f"{len(draft)} draft tokens need {len(draft) + 1} rows of logits, not {len(target_rows)}.")
    rows = _Rows(target_rows, draft, shaping)
    if params.temperature == 0:
        return _accept_greedy(draft, draft_probs, rows, with_probabilities)
    return _accept_sampled(draft, draft_dists, rows, params, random, position)


def residual(p: Distribution, q: Distribution) -> Distribution:
    """Return max(p - q, 0), normalised: what replaces a refused token.

    Where q covers p up to rounding nothing is left, and p itself is returned; a refusal is then all but impossible.
    """
    q_probs = q.probs if p.ids is None and q.ids is None else q.probabilities(p.tokens)
    weights = p.probs - q_probs
    np.maximum(weights, 0.0, out=weights)
    return Distribution.from_weights(p.ids, weights) if weights.any() else p


@dataclass(frozen=True, slots=True)
class _Rows:
    """The target's rows, each shaped when it is reached."""

    logits: NDArray[np.float32]
    draft: Sequence[int]
    shaping: Shaping | None

    def __getitem__(self, index: int) -> Row:
        row: Row = self.logits[index]
        return row if self.shaping is None else self.shaping.apply(row, self.draft[:index])

    def distribution(self, index: int, params: SamplingParams) -> Distribution:
        """What the next token is drawn from, without a pass over the row where there is no choice."""
        only = None if self.shaping is None else self.shaping.only(self.logits[index], self.draft[:index])
        return apply_chain(self[index], params) if only is None else Distribution.one_hot(only)

    def best(self, index: int) -> int:
        """The token with the largest logit, without a pass over the row for each thing that shapes it."""
        row: Row = self.logits[index]
        return greedy_token(row) if self.shaping is None else self.shaping.best(row, self.draft[:index])

    def judge(self, index: int, with_probabilities: bool) -> tuple[int, Callable[[int], float | None]]:
        """The best token of a row, and every token's probability where it is asked for."""
        if with_probabilities:
            softmax = Softmax(self[index])
            return softmax.best, softmax.probability
        return self.best(index), _not_asked


def _accept_greedy(
    draft: Sequence[int], draft_probs: Sequence[float | None], rows: _Rows, with_probabilities: bool
) -> Verdict:
    checks: list[DraftCheck] = []
    best, probability = rows.judge(0, with_probabilities)
    for i, token in enumerate(draft):
        q = draft_probs[i] if draft_probs else 1.0
        checks.append(DraftCheck(token, probability(token), q, None, token == best))
        if token != best:
            return Verdict(i, best, Source.RESAMPLED, probability(best), None, checks)
        best, probability = rows.judge(i + 1, with_probabilities)
    source = Source.BONUS if draft else Source.TARGET
    return Verdict(len(draft), best, source, probability(best), None, checks)


def _not_asked(token: int) -> None:
    return None


def _accept_sampled(
    draft: Sequence[int],
    draft_dists: Sequence[Distribution | None],
    rows: _Rows,
    params: SamplingParams,
    random: RequestRandom,
    position: int,
) -> Verdict:
    checks: list[DraftCheck] = []
    for i, token in enumerate(draft):
        p, q = rows.distribution(i, params), draft_dists[i]
        u_accept, u_sample = random.at(position + i)
        if q is None or q.is_one_hot:
            instead = p.sample(u_sample)
            check = DraftCheck(token, p.probability(token), 1.0, u_sample, instead == token)
            left = None
        else:
            check = _check(token, p, q, u_accept)
            left = None if check.accepted else residual(p, q)
            instead = token if left is None else left.sample(u_sample)
        checks.append(check)
        if not check.accepted:
            share = _share_beside(p, token, instead) if left is None else left.probability(instead)
            return Verdict(i, instead, Source.RESAMPLED, p.probability(instead), u_sample, checks, share)
    p = rows.distribution(len(draft), params)
    _, u_sample = random.at(position + len(draft))
    token = p.sample(u_sample)
    source = Source.BONUS if draft else Source.TARGET
    return Verdict(len(draft), token, source, p.probability(token), u_sample, checks)


def _share_beside(p: Distribution, token: int, instead: int) -> float:
    """The residual's probability of ``instead`` where q has everything on ``token``."""
    drawn = p.probability(instead)
    return drawn / max(1.0 - p.probability(token), drawn)  # rounding must not make it more than 1


def _check(token: int, p: Distribution, q: Distribution, u: float) -> DraftCheck:
    p_token, q_token = p.probability(token), q.probability(token)
    # u < p / q without the division: certain where p >= q, impossible where p is 0.
    return DraftCheck(token, p_token, q_token, u, u * q_token < p_token)
