"""Speculative sampling must not change the distribution of the text: statistics, and properties of every verdict."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from exsa_lab.config import SamplingParams
from exsa_lab.errors import DecodeError
from exsa_lab.events import Source
from exsa_lab.speculation import rejection_sampling
from exsa_lab.speculation.rejection_sampling import Verdict, accept, residual
from exsa_lab.speculation.sampling import Distribution, RequestRandom, apply_chain, greedy_token, softmax_probability

Logits = NDArray[np.float32]
NUM_DRAWS = 20_000
GREEDY = SamplingParams()


# Statistics


@dataclass
class Script:
    """A target and a draft whose next token depends on the last one: logits of shape (vocab, vocab)."""

    target: Logits
    draft: Logits | None
    """None: the draft is no distribution but one token, like an n-gram's."""
    proposal: int = 0

    def propose(
        self, last: int, params: SamplingParams, random: RequestRandom, position: int
    ) -> tuple[int, Distribution | None]:
        if self.draft is None:
            return (last + self.proposal) % len(self.target), None
        q = remembered_chain(self.draft[last], params)
        return q.sample(self.uniform(random, position)), q

    @staticmethod
    def uniform(random: RequestRandom, position: int) -> float:
        """The number that draws a draft token."""
        return random.draft_uniform()


CHAINS: dict[bytes, Distribution] = {}
"""Of one test, whose params never change."""


def remembered_chain(logits: Logits, params: SamplingParams) -> Distribution:
    """The chain is a pure function of few rows here: computed anew for every draw it would take minutes."""
    key = logits.tobytes()
    if key not in CHAINS:
        CHAINS[key] = apply_chain(logits, params)
    return CHAINS[key]


@pytest.fixture
def _quick_chain(monkeypatch: pytest.MonkeyPatch) -> None:
    CHAINS.clear()
    monkeypatch.setattr(rejection_sampling, "apply_chain", remembered_chain)


def run_round(
    script: Script, k: int, last: int, params: SamplingParams, random: RequestRandom, position: int
) -> tuple[list[int], Verdict]:
    """Draft k tokens after ``last``, verify them, and return the tokens the round commits."""
    draft: list[int] = []
    dists: list[Distribution | None] = []
    for i in range(k):
        token, dist = script.propose(draft[-1] if draft else last, params, random, position + i)
        draft.append(token)
        dists.append(dist)
    verdict = accept(draft, dists, script.target[[last, *draft]], params, random, position)
    return [*draft[: verdict.accepted], verdict.token], verdict


def draw_pairs(script: Script, k: int, params: SamplingParams, seed: int = 1) -> tuple[Counter[tuple[int, int]], int]:
    """First two tokens of many texts that follow token 0, and how often the first draft token was accepted."""
    random = RequestRandom(seed)
    pairs: Counter[tuple[int, int]] = Counter()
    num_accepted = 0
    for text in range(NUM_DRAWS):
        position = text * 16  # positions of their own stand for a seed of its own
        tokens, verdict = run_round(script, k, 0, params, random, position)
        num_accepted += verdict.accepted > 0
        if len(tokens) < 2:
            tokens += run_round(script, k, tokens[0], params, random, position + 1)[0]
        pairs[tokens[0], tokens[1]] += 1
    return pairs, num_accepted


def dense(logits: Logits, params: SamplingParams) -> NDArray[np.float64]:
    """Probability of every token after the chain."""
    probs: NDArray[np.float64] = apply_chain(logits, params).probabilities(np.arange(len(logits), dtype=np.int32))
    return probs


def expected_pairs(script: Script, params: SamplingParams) -> NDArray[np.float64]:
    """Exact probabilities of the first two tokens under the target alone, shape (vocab, vocab)."""
    after = np.array([dense(row, params) for row in script.target])
    pairs: NDArray[np.float64] = after[0][:, None] * after
    return pairs


def excess(counts: Iterable[int], probs: Iterable[float]) -> float:
    """Chi-square over its critical value at p = 1e-3 (Wilson and Hilferty 1931); above 1 the fit is refused.

    Rare cells are pooled until each is expected at least 5 times; one that is impossible but was seen is infinite.
    """
    statistic, cells = 0.0, 0
    seen, wanted = 0.0, 0.0
    for prob, count in sorted(zip(probs, counts, strict=True)):
        if prob == 0:
            if count:
                return math.inf
            continue
        seen, wanted = seen + count, wanted + prob * NUM_DRAWS
        if wanted >= 5:
            statistic, cells = statistic + (seen - wanted) ** 2 / wanted, cells + 1
            seen = wanted = 0.0
    freedom = cells - 1
    critical = freedom * (1 - 2 / (9 * freedom) + 3.0902 * math.sqrt(2 / (9 * freedom))) ** 3
    return statistic / critical


def misfit(pairs: Counter[tuple[int, int]], script: Script, params: SamplingParams) -> tuple[float, float]:
    """How badly the first token, and the first two together, fit the target (see `excess`)."""
    expected = expected_pairs(script, params)
    counts = np.zeros(expected.shape, int)
    for pair, count in pairs.items():
        counts[pair] = count
    first = excess(counts.sum(axis=1).tolist(), expected.sum(axis=1).tolist())
    return first, excess(counts.ravel().tolist(), expected.ravel().tolist())


def random_logits(seed: int, vocab: int, spread: float = 1.2) -> Logits:
    return (spread * np.random.default_rng(seed).standard_normal((vocab, vocab))).astype(np.float32)


def near_zero_draft(vocab: int) -> Logits:
    """Nearly all of the draft's probability is on one token that the target seldom wants."""
    logits = np.full((vocab, vocab), -12.0, np.float32)
    logits[:, 2] = 3.0
    return logits


def disjoint(seed: int, vocab: int) -> Script:
    """Target and draft have no token in common."""
    target, draft = random_logits(seed, vocab), random_logits(seed + 1, vocab)
    target[:, ::2] = -np.inf
    draft[:, 1::2] = -np.inf
    return Script(target, draft)


TARGET5, TARGET6, TARGET8 = random_logits(10, 5), random_logits(11, 6), random_logits(12, 8)
ORDINARY = Script(TARGET6, random_logits(20, 6))
CASES = {
    "k=1": (ORDINARY, 1, SamplingParams(temperature=1.0)),
    "k=2, colder": (Script(TARGET8, random_logits(21, 8)), 2, SamplingParams(temperature=0.5)),
    "k=3, top_k": (Script(TARGET6, random_logits(22, 6)), 3, SamplingParams(temperature=1.0, top_k=3)),
    "k=4, top_p": (Script(TARGET6, random_logits(23, 6)), 4, SamplingParams(temperature=0.5, top_p=0.85)),
    "k=2, min_p": (Script(TARGET8, random_logits(24, 8)), 2, SamplingParams(temperature=1.0, min_p=0.1)),
    "k=4, all cuts": (
        Script(TARGET8, random_logits(25, 8)),
        4,
        SamplingParams(temperature=1.0, top_k=5, top_p=0.95, min_p=0.05),
    ),
    "identical": (Script(TARGET5, TARGET5), 3, SamplingParams(temperature=1.0)),
    "disjoint": (disjoint(30, 6), 2, SamplingParams(temperature=1.0)),
    "near zero": (Script(TARGET5, near_zero_draft(5)), 2, SamplingParams(temperature=1.0)),
    "one-hot": (Script(TARGET5, None, proposal=1), 3, SamplingParams(temperature=1.0)),
    "one-hot, top_p": (Script(TARGET5, None, proposal=0), 1, SamplingParams(temperature=0.5, top_p=0.9)),
    "plain": (ORDINARY, 0, SamplingParams(temperature=1.0)),
}


@pytest.mark.usefixtures("_quick_chain")
@pytest.mark.parametrize(("script", "k", "params"), CASES.values(), ids=CASES)
def test_text_is_distributed_as_the_target_alone_would(script: Script, k: int, params: SamplingParams) -> None:
    pairs, num_accepted = draw_pairs(script, k, params)
    first, both = misfit(pairs, script, params)
    assert first < 1
    assert both < 1

    # Acceptance is the overlap of target and draft, the most that any lossless rule can reach.
    p = dense(script.target[0], params)
    q = np.eye(len(p))[script.proposal] if script.draft is None else dense(script.draft[0], params)
    overlap = float(np.minimum(p, q).sum()) if k else 0.0
    deviation = math.sqrt(NUM_DRAWS * overlap * max(0.0, 1 - overlap))
    assert num_accepted == pytest.approx(NUM_DRAWS * overlap, abs=3.3 * deviation + 1e-6)


def _inverted_ratio(token: int, p: Distribution, q: Distribution, u: float) -> rejection_sampling.DraftCheck:
    p_token, q_token = p.probability(token), q.probability(token)
    return rejection_sampling.DraftCheck(token, p_token, q_token, u, u * p_token < q_token)


def _resample_from_target(p: Distribution, q: Distribution) -> Distribution:
    return p


WRONG_RULES: dict[str, tuple[object, str, Callable[..., object]]] = {
    "min(1, q/p)": (rejection_sampling, "_check", _inverted_ratio),
    "resampling from p": (rejection_sampling, "residual", _resample_from_target),
    "always accepting": (
        rejection_sampling,
        "_check",
        lambda t, p, q, u: rejection_sampling.DraftCheck(t, 1.0, 1.0, u, True),
    ),
    "drafting with the target's numbers": (
        Script,
        "uniform",
        staticmethod(lambda random, position: random.at(position)[1]),
    ),
}


@pytest.mark.usefixtures("_quick_chain")
@pytest.mark.parametrize(("owner", "name", "rule"), WRONG_RULES.values(), ids=WRONG_RULES)
def test_the_statistics_catch_a_wrong_rule(
    monkeypatch: pytest.MonkeyPatch, owner: object, name: str, rule: Callable[..., object]
) -> None:
    monkeypatch.setattr(owner, name, rule)
    script, k, params = CASES["k=1"]
    pairs, _ = draw_pairs(script, k, params)
    first, both = misfit(pairs, script, params)
    assert first > 1.5
    assert both > 1.5


# Properties

vocab_sizes = st.integers(5, 8)
logit = st.one_of(st.integers(-12, 12).map(lambda n: n / 4), st.just(-math.inf))
sampled = st.builds(
    SamplingParams,
    temperature=st.sampled_from([0.5, 1.0, 2.0]),
    top_k=st.integers(0, 5),
    top_p=st.sampled_from([0.5, 0.9, 1.0]),
    min_p=st.sampled_from([0.0, 0.1]),
)
seeds = st.integers(0, 2**64 - 1)


@st.composite
def logits(draw: st.DrawFn, num_rows: int, vocab: int) -> Logits:
    row = st.lists(logit, min_size=vocab, max_size=vocab).filter(lambda values: max(values) > -math.inf)
    return np.array([draw(row) for _ in range(num_rows)], np.float32)


@st.composite
def rounds(draw: st.DrawFn) -> tuple[Logits, Logits, int]:
    """Target rows, draft rows and k."""
    vocab, k = draw(vocab_sizes), draw(st.integers(0, 4))
    return draw(logits(k + 1, vocab)), draw(logits(k, vocab)), k


@settings(max_examples=200)
@given(rounds(), sampled, seeds, st.integers(0, 500))
def test_a_sampled_verdict_is_consistent(
    case: tuple[Logits, Logits, int], params: SamplingParams, seed: int, position: int
) -> None:
    target, draft_rows, k = case
    random = RequestRandom(seed)
    dists = [apply_chain(row, params) for row in draft_rows]
    draft = [dist.sample(random.draft_uniform()) for dist in dists]
    verdict = accept(draft, dists, target, params, random, position)

    assert 0 <= verdict.accepted <= k
    rejected = verdict.accepted < k
    assert [check.accepted for check in verdict.checks] == [True] * verdict.accepted + [False] * rejected
    assert verdict.source is (Source.TARGET if k == 0 else Source.RESAMPLED if rejected else Source.BONUS)
    for i, check in enumerate(verdict.checks):
        p = apply_chain(target[i], params)
        assert (check.token, check.p, check.q) == (draft[i], p.probability(draft[i]), dists[i].probability(draft[i]))
        assert check.p > 0 or not check.accepted
        assert check.u == random.at(position + i)[int(dists[i].is_one_hot)]
    last = apply_chain(target[verdict.accepted], params)
    assert verdict.p == last.probability(verdict.token) > 0
    assert verdict.u == random.at(position + verdict.accepted)[1]
    if rejected and not dists[verdict.accepted].is_one_hot:
        assert residual(last, dists[verdict.accepted]).probability(verdict.token) > 0
    assert accept(draft, dists, target, params, RequestRandom(seed), position) == verdict


@given(rounds(), sampled, seeds, st.data())
def test_chosen_drafts_leave_the_text_of_plain_sampling(
    case: tuple[Logits, Logits, int], params: SamplingParams, seed: int, data: st.DataObject
) -> None:
    """Whatever was chosen, and marked so by None or one-hot, the committed tokens are those of plain sampling."""
    target, _, k = case
    tokens = st.integers(0, target.shape[1] - 1)
    draft = data.draw(st.lists(tokens, min_size=k, max_size=k))
    dists = [data.draw(st.sampled_from([None, Distribution.one_hot(token)])) for token in draft]
    verdict = accept(draft, dists, target, params, RequestRandom(seed), 3)

    plain = [accept([], [], target[i : i + 1], params, RequestRandom(seed), 3 + i).token for i in range(k + 1)]
    assert [*draft[: verdict.accepted], verdict.token] == plain[: verdict.accepted + 1]


@given(rounds(), st.data(), st.booleans())
def test_greedy_text_is_the_chain_of_best_tokens(
    case: tuple[Logits, Logits, int], data: st.DataObject, with_probabilities: bool
) -> None:
    target, _, k = case
    best = [greedy_token(row) for row in target]
    draft = [data.draw(st.sampled_from([token, 0])) for token in best[:k]]
    verdict = accept(draft, [], target, GREEDY, RequestRandom(0), 0, with_probabilities=with_probabilities)

    tokens = [*draft[: verdict.accepted], verdict.token]
    assert tokens == best[: len(tokens)]
    assert verdict.accepted == next((i for i in range(k) if draft[i] != best[i]), k)
    assert verdict.u is None
    assert all(check.u is None for check in verdict.checks)


def test_greedy_probabilities_are_the_models_own() -> None:
    target = random_logits(7, 5)[:3]
    best = [greedy_token(row) for row in target]
    wrong = (best[1] + 1) % 5
    verdict = accept([best[0], wrong], [], target, GREEDY, RequestRandom(0), 0, draft_probs=[0.75, 0.5])
    assert [(c.token, c.q, c.accepted) for c in verdict.checks] == [(best[0], 0.75, True), (wrong, 0.5, False)]
    assert [c.p for c in verdict.checks] == [
        softmax_probability(target[0], best[0]),
        softmax_probability(target[1], wrong),
    ]
    assert (verdict.token, verdict.source) == (best[1], Source.RESAMPLED)
    assert verdict.p == softmax_probability(target[1], best[1])

    without = accept([best[0], wrong], [], target, GREEDY, RequestRandom(0), 0, with_probabilities=False)
    assert (without.accepted, without.token, without.p) == (1, best[1], None)
    assert [(c.p, c.q) for c in without.checks] == [(None, 1.0), (None, 1.0)]


@given(st.data(), vocab_sizes, sampled)
def test_residual_is_what_the_draft_left_uncovered(data: st.DataObject, vocab: int, params: SamplingParams) -> None:
    target, draft = data.draw(logits(2, vocab))
    p, q = apply_chain(target, params), apply_chain(draft, params)
    left = residual(p, q)
    assert (left.probs >= 0).all()
    assert left.probs.sum() == pytest.approx(1.0)
    uncovered = np.maximum(dense(target, params) - dense(draft, params), 0)
    if uncovered.sum() == 0:
        assert left is p
    else:
        found = left.probabilities(np.arange(vocab, dtype=np.int32))
        np.testing.assert_allclose(found, uncovered / uncovered.sum(), atol=1e-9)


@pytest.mark.parametrize("is_chosen", [False, True])
@given(data=st.data(), vocab=vocab_sizes, params=sampled, seed=seeds)
def test_a_resampled_token_has_its_share_of_the_residual(
    is_chosen: bool, data: st.DataObject, vocab: int, params: SamplingParams, seed: int
) -> None:
    target, draft = data.draw(logits(2, vocab)), data.draw(logits(1, vocab))[0]
    random = RequestRandom(seed)
    q = apply_chain(draft, params)
    token = q.sample(random.draft_uniform())
    verdict = accept([token], [None if is_chosen else q], target, params, random, 0)
    if verdict.source is not Source.RESAMPLED:
        assert verdict.residual is None
        return
    drawn_from = np.eye(vocab)[token] if is_chosen else dense(draft, params)
    left = np.maximum(dense(target[0], params) - drawn_from, 0)
    assume(left.sum() > 1e-9)  # else rounding decides
    assert verdict.residual == pytest.approx(left[verdict.token] / left.sum(), rel=1e-5, abs=1e-9)


def test_greedy_decoding_draws_from_no_residual() -> None:
    wrong = int(TARGET6[0].argmin())
    assert accept([wrong], [None], TARGET6[:2], GREEDY, RequestRandom(0), 0).residual is None


def test_residual_of_identical_distributions_is_the_target() -> None:
    p = apply_chain(TARGET8[0], SamplingParams(temperature=1.0))
    assert residual(p, p) is p


@given(logits(2, 6), sampled, seeds)
def test_an_identical_draft_is_never_refused(target: Logits, params: SamplingParams, seed: int) -> None:
    random = RequestRandom(seed)
    q = apply_chain(target[0], SamplingParams(temperature=params.temperature))
    draft = q.sample(random.draft_uniform())
    assert accept([draft], [q], target, SamplingParams(temperature=params.temperature), random, 0).accepted == 1


@pytest.mark.parametrize(("p", "q", "u", "accepted"), [(0.0, 0.5, 0.0, False), (0.5, 0.5, 1 - 2**-53, True)])
def test_the_edges_of_chance(monkeypatch: pytest.MonkeyPatch, p: float, q: float, u: float, accepted: bool) -> None:
    """A token the target forbids is refused at u = 0; one as probable as in the draft is kept at the largest u."""
    monkeypatch.setattr(RequestRandom, "at", lambda self, position: (u, 0.5))
    with np.errstate(divide="ignore"):
        target = np.log([[p, 1 - p], [0.5, 0.5]]).astype(np.float32)
    draft = Distribution(None, np.array([q, 1 - q]))
    params = SamplingParams(temperature=1.0)
    assert accept([0], [draft], target, params, RequestRandom(0), 0).accepted == accepted


def test_only_rows_that_are_reached_matter() -> None:
    target = TARGET6[:3].copy()
    target[2] = np.nan
    wrong = int(target[0].argmin())
    for params in (GREEDY, SamplingParams(temperature=0.1, top_k=1)):
        assert accept([wrong, 0], [None, None], target, params, RequestRandom(0), 0).accepted == 0
        with pytest.raises(DecodeError, match="not numbers"):
            accept([wrong], [None], target[[2, 0]], params, RequestRandom(0), 0)


def test_rows_must_fit_the_draft() -> None:
    with pytest.raises(ValueError, match="2 draft tokens need 3 rows of logits, not 2"):
        accept([1, 2], [None, None], TARGET6[:2], GREEDY, RequestRandom(0), 0)
