"""The policy, decision by decision. How it does over whole texts is in test_draft_length_simulated.py."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exsa_lab.config import DrafterName
from exsa_lab.costs.model import CostModel
from exsa_lab.events import DraftReason
from exsa_lab.speculation.acceptance_rates import AcceptanceEstimate, DraftHistory
from exsa_lab.speculation.draft_accounts import FIRST_CREDIT, PAPER_GAIN, PAPER_TOKENS
from exsa_lab.speculation.draft_length import DraftLengthPolicy, DraftRequest, Outcome, Resting, Take
from tests.speculation.simulator import DRAFT_CPU, H100, MACHINES, Machine

COPY = {"ngram_tokens": 16, "match_length": 40}


def policy_on(name: str = "Q8_0", *, has_draft: bool = True) -> DraftLengthPolicy:
    return DraftLengthPolicy(Machine.named(name).believed, has_draft=has_draft)


def request_for(policy: DraftLengthPolicy, drafter: DrafterName = "auto", **facts: int) -> DraftRequest:
    return DraftRequest(policy.new_history(), drafter, **facts)


def teach(policy: DraftLengthPolicy, request: DraftRequest, *, is_right: bool, rounds: int = 60) -> None:
    """Let the draft model have been right or wrong for a while, with credit left to act on it."""
    for _ in range(rounds):
        policy.estimate.observe_model(request.history, [0.8] * 8, 8 if is_right else 0)
    policy.accounts.balance.update({"model": 20.0, "ngram": 20.0})


# Choices


def test_a_long_copy_is_drafted_from_the_text() -> None:
    policy = policy_on()
    choice = policy.choose([request_for(policy, **COPY)]).choices[0]
    assert choice.drafter == "ngram"
    assert choice.k >= 3
    assert choice.reason is DraftReason.MEASURED_GAIN


def test_auto_takes_the_better_drafter() -> None:
    policy = policy_on("H100")
    trusted = request_for(policy, ngram_tokens=16, match_length=2)
    teach(policy, trusted, is_right=True)
    assert policy.choose([trusted]).choices[0].drafter == "model"
    doubted = request_for(policy, **COPY)
    teach(policy, doubted, is_right=False)
    assert policy.choose([doubted]).choices[0].drafter == "ngram"


@pytest.mark.parametrize("drafter", ["model", "ngram", "none"])
def test_only_the_wanted_drafter_drafts(drafter: DrafterName) -> None:
    policy = policy_on("flat")
    request = request_for(policy, drafter, **COPY)
    teach(policy, request, is_right=True)
    choice = policy.choose([request]).choices[0]
    assert choice.drafter == drafter
    assert (choice.k > 0) == (drafter != "none")
    assert (choice.reason is DraftReason.NO_DRAFTER) == (drafter == "none")


def test_without_match_and_draft_model_there_is_no_drafter() -> None:
    policy = policy_on(has_draft=False)
    assert policy.choose([request_for(policy)]).choices[0].reason is DraftReason.NO_DRAFTER


def test_where_even_a_perfect_draft_loses_nothing_is_ever_tried() -> None:
    policy = policy_on("steep")
    request = request_for(policy, **COPY)
    teach(policy, request, is_right=True)
    for _ in range(2000):
        plan = policy.choose([request])
        assert plan.choices[0].k == 0
        assert plan.choices[0].reason is DraftReason.CANNOT_WIN
        policy.observe(plan, [Outcome()])


def test_a_draft_model_that_fails_is_probed_ever_more_rarely() -> None:
    policy = policy_on()
    request = request_for(policy, "model")
    probes = []
    for step in range(3000):
        plan = policy.choose([request])
        if plan.choices[0].k:
            assert plan.choices[0].reason is DraftReason.PROBING
            assert plan.take(0, 0.2) is Take.STOP
            policy.observe(plan, [Outcome(peeked=0.2, peeked_right=False)])
            probes.append(step)
        else:
            policy.observe(plan, [Outcome()])
    assert 5 <= len(probes) <= 40
    assert probes[0] < 5
    assert max(b - a for a, b in itertools.pairwise(probes)) >= 256


def test_a_draft_model_that_turns_good_is_found() -> None:
    policy = policy_on("H100")
    request = request_for(policy, "model")
    teach(policy, request, is_right=False, rounds=200)
    for _ in range(600):
        plan = policy.choose([request])
        k = plan.choices[0].k
        if k and plan.choices[0].reason is DraftReason.MEASURED_GAIN:
            return
        policy.observe(plan, [Outcome(k, k, (0.9,) * k)])
    pytest.fail("never drafted again")


def test_a_batch_rests_after_a_step_that_was_not_worth_a_draft() -> None:
    policy = policy_on(has_draft=False)
    requests = [request_for(policy, ngram_tokens=4, match_length=2) for _ in range(4)]
    for _ in range(100):
        policy.observe_ngram(requests[0].history, [(2, False)])
    new: list[Resting] = [(request.history, 40, "auto") for request in requests]
    plan = policy.choose(requests)
    assert not any(choice.k for choice in plan.choices)
    policy.observe(plan, [Outcome()] * 4)
    assert not policy.rests(new[:1]), "a lone sequence is weighed as soon as it has a longer match"
    num_rests = 0
    while policy.rests(new):
        policy.observe_rest([request.history for request in requests])
        num_rests += 1
    assert 1 <= num_rests <= 4


def test_a_batch_that_drafts_does_not_rest() -> None:
    policy = policy_on(has_draft=False)
    requests = [request_for(policy, **COPY) for _ in range(2)]
    policy.accounts.balance["ngram"] = 20.0
    plan = policy.choose(requests)
    lengths = [choice.k for choice in plan.choices]
    assert any(lengths)
    policy.observe(plan, [Outcome(accepted=k, verified=k) for k in lengths])
    assert not policy.rests([(request.history, 40, "auto") for request in requests])


def test_an_overdrawn_account_stops_its_drafter_only() -> None:
    policy = policy_on("flat")
    request = request_for(policy, **COPY)
    teach(policy, request, is_right=True)
    policy.accounts.balance["ngram"] = -0.1
    assert policy.choose([request]).choices[0].drafter == "model"
    policy.accounts.balance["model"] = -0.1
    choice = policy.choose([request]).choices[0]
    assert choice.k == 0
    assert choice.reason is DraftReason.NOT_WORTH_IT


def test_losses_are_charged_and_gains_credited() -> None:
    policy = policy_on()
    request = request_for(policy, **COPY)
    before = policy.accounts.balance["ngram"]
    plan = policy.choose([request])
    k = plan.choices[0].k
    policy.observe(plan, [Outcome(accepted=0, verified=k)])
    loss = before - policy.accounts.balance["ngram"]
    verify = policy.costs.step_seconds(1 + k) / policy.costs.step_seconds(1)
    assert loss == pytest.approx(verify - 1, abs=0.05)
    policy.observe(plan, [Outcome(accepted=k, verified=k)])
    assert policy.accounts.balance["ngram"] == pytest.approx(before - loss + k + 1 - verify, abs=0.1)


def paper_price(policy: DraftLengthPolicy) -> float:
    costs = policy.costs
    return (costs.step_seconds(1 + PAPER_TOKENS) + costs.return_seconds) / costs.step_seconds(1)


def look_up_alone(policy: DraftLengthPolicy, history: DraftHistory, outcomes: list[tuple[int, bool]]) -> None:
    policy.observe_ngram(history, outcomes, is_plain_alone=True)


def test_an_overdrawn_lookup_comes_back_by_what_it_would_have_gained() -> None:
    policy = policy_on()
    history = policy.new_history()
    policy.accounts.balance["ngram"] = -2.0
    for length in range(40, 40 + PAPER_TOKENS):
        assert policy.accounts.balance["ngram"] == -2.0
        look_up_alone(policy, history, [(length, True)])
    price = paper_price(policy)
    assert policy.accounts.balance["ngram"] == pytest.approx(PAPER_TOKENS - price)


class Hopeful(AcceptanceEstimate):
    """Expects every lookup to be right, whatever came of the last ones: each is made, on paper at least."""

    def ngram_survival(self, history: DraftHistory, match_length: int, max_tokens: int) -> list[float]:
        return [1.0] * max_tokens


@given(outcomes=st.lists(st.booleans(), max_size=200))
def test_on_paper_it_gains_what_a_draft_would_have(outcomes: list[bool]) -> None:
    """It never comes back where the drafts together would not have been faster."""
    policy = policy_on()
    policy.estimate = Hopeful()
    history = policy.new_history()
    policy.accounts.balance["ngram"] = -2.0
    price = paper_price(policy)
    gain = most = right = 0.0
    for is_right in outcomes:
        look_up_alone(policy, history, [(40, is_right)])
        right += is_right
        if right == PAPER_TOKENS or not is_right:
            gain, right = max(-FIRST_CREDIT, gain + right + (not is_right) - price), 0.0
            most = max(most, gain)
    assert (policy.accounts.balance["ngram"] > 0) == (most >= PAPER_GAIN)


def test_a_lookup_that_would_not_be_drafted_is_none_on_paper_either() -> None:
    policy = policy_on("steep")
    history = policy.new_history()
    policy.accounts.balance["ngram"] = -2.0
    for length in range(2, 80):
        look_up_alone(policy, history, [(length, True)])
    look_up_alone(policy, history, [])
    assert policy.accounts.balance["ngram"] == -2.0


def test_another_text_begins_with_a_part_of_what_was_saved_up() -> None:
    policy = policy_on()
    policy.accounts.balance.update({"model": 3.0, "ngram": 24.0})
    policy.new_history()
    assert policy.accounts.balance == {"model": 3.0, "ngram": FIRST_CREDIT}


def test_a_poor_account_stakes_little() -> None:
    policy = policy_on()
    request = request_for(policy, "ngram", **COPY)
    teach(policy, request, is_right=True)
    rich = policy.choose([request]).choices[0].k
    policy.accounts.balance["ngram"] = 0.5
    poor = policy.choose([request]).choices[0].k
    assert poor < rich
    assert policy.costs.step_seconds(1 + poor) <= 2.25 * policy.costs.step_seconds(1)


def test_a_plain_step_comes_now_and_then_while_drafting() -> None:
    policy = policy_on("flat")
    request = request_for(policy, **COPY)
    plain = []
    for step in range(600):
        plan = policy.choose([request])
        k = plan.choices[0].k
        if not k:
            assert plan.choices[0].reason is DraftReason.PROBING
            plain.append(step)
        policy.observe(plan, [Outcome(k, k)])
    assert 3 <= len(plain) <= 10
    assert plain[0] < 10


def test_a_shifted_cost_makes_a_plain_step_due() -> None:
    policy = policy_on("flat")
    request = request_for(policy, **COPY)
    for _ in range(400):
        plan = policy.choose([request])
        policy.observe(plan, [Outcome(plan.choices[0].k, plan.choices[0].k)])
        seconds = policy.costs.step_seconds(1 + plan.choices[0].k)
        policy.costs.observe("target", 1 + plan.choices[0].k, 1, seconds)
    steps = 0
    while policy.choose([request]).choices[0].k:
        plan = policy.choose([request])
        policy.costs.observe("target", 1 + plan.choices[0].k, 1, 0.03)
        policy.observe(plan, [Outcome(plan.choices[0].k, plan.choices[0].k)])
        steps += 1
    assert steps < 20


# While the model drafts


def test_a_doubtful_token_ends_the_draft_and_a_sure_one_prolongs_it() -> None:
    policy = policy_on("H100")
    request = request_for(policy, "model")
    for _ in range(100):
        for confidence in (0.05, 0.5, 0.99):
            policy.estimate.observe_token(request.history, 0, confidence, is_right=confidence > 0.4)
            policy.estimate.observe_token(request.history, 1, confidence, is_right=confidence > 0.4)
    policy.accounts.balance["model"] = 20.0
    plan = policy.choose([request])
    assert plan.choices[0].k >= 1
    assert plan.take(0, 0.05) is Take.STOP
    plan = policy.choose([request])
    taken = 0
    while plan.take(0, 0.99) is Take.MORE:
        taken += 1
    assert taken + 1 > plan.choices[0].k


def test_no_draft_grows_beyond_its_limit_or_the_budget() -> None:
    policy = policy_on("flat")
    requests = [request_for(policy, "model", limit=5) for _ in range(3)]
    for request in requests:
        teach(policy, request, is_right=True)
    plan = policy.choose(requests, budget=3 + 7)
    taken = [0, 0, 0]
    active = [0, 1, 2]
    while active:
        going_on = []
        for index in active:
            take = plan.take(index, 0.99)
            taken[index] += take is not Take.STOP
            if take is Take.MORE:
                going_on.append(index)
        active = going_on
    assert all(count <= 5 for count in taken)
    assert sum(taken) <= 7


# Properties


requests_strategy = st.lists(
    st.tuples(
        st.sampled_from(["auto", "model", "ngram", "none"]),
        st.integers(0, 16),
        st.integers(0, 16),
        st.integers(2, 64),
        st.integers(1, 2000),
        st.booleans(),
    ),
    max_size=6,
)


@settings(deadline=None, max_examples=60)
@given(
    requests_strategy,
    st.sampled_from(sorted(MACHINES)),
    st.integers(0, 200),
    st.integers(0, 40),
    st.floats(-2, 24),
    st.booleans(),
)
def test_choose_is_pure_and_keeps_to_limits_and_budget(
    facts: list[tuple[DrafterName, int, int, int, int, bool]],
    machine: str,
    other_tokens: int,
    room: int,
    balance: float,
    has_draft: bool,
) -> None:
    policy = policy_on(machine, has_draft=has_draft)
    requests = []
    for drafter, limit, ngram_tokens, match_length, lag, is_good in facts:
        request = DraftRequest(policy.new_history(), drafter, limit, ngram_tokens, match_length, lag)
        teach(policy, request, is_right=is_good, rounds=5)
        requests.append(request)
    policy.accounts.balance.update({"model": balance, "ngram": balance})
    budget = other_tokens + len(requests) + room
    before = (dict(policy.accounts.balance), [numbers_of(r.history) for r in requests])
    plan = policy.choose(requests, other_tokens=other_tokens, other_sequences=1, budget=budget)
    again = policy.choose(requests, other_tokens=other_tokens, other_sequences=1, budget=budget)
    assert plan.choices == again.choices
    assert before == (dict(policy.accounts.balance), [numbers_of(r.history) for r in requests])
    assert sum(choice.k for choice in plan.choices) <= room
    for request, choice in zip(requests, plan.choices, strict=True):
        assert 0 <= choice.k <= request.limit
        assert (choice.k == 0) == (choice.drafter == "none")
        if choice.k:
            assert request.drafter in ("auto", choice.drafter)
        if choice.drafter == "ngram":
            assert choice.k <= request.ngram_tokens
        if choice.drafter == "model":
            assert has_draft


def numbers_of(history: DraftHistory) -> list[object]:
    """A copy of every number a history holds."""
    rates = (history.places, history.matches, history.overall)
    return [*([list(each.accepted), list(each.tested)] for each in rates), history.idle]


@pytest.mark.parametrize("machine", ["Q8_0", "H100", "flat"])
def test_better_drafts_are_never_chosen_shorter(machine: str) -> None:
    lengths = []
    for good in range(0, 9, 2):
        policy = policy_on(machine)
        request = request_for(policy, "model")
        for _ in range(60):
            policy.estimate.observe_model(request.history, [0.8] * 8, good)
        policy.accounts.balance["model"] = 24.0
        plan = policy.choose([request])
        lengths.append(plan.choices[0].k if plan.choices[0].reason is DraftReason.MEASURED_GAIN else 0)
    assert lengths == sorted(lengths)


def test_dearer_drafts_are_never_chosen_longer() -> None:
    lengths = []
    for factor in (0.2, 1.0, 3.0, 10.0):
        costs = CostModel.from_measurements(H100, {n: factor * s for n, s in DRAFT_CPU.items()})
        policy = DraftLengthPolicy(costs, has_draft=True, estimate=AcceptanceEstimate())
        request = request_for(policy, "model")
        teach(policy, request, is_right=True)
        plan = policy.choose([request])
        lengths.append(plan.choices[0].k if plan.choices[0].reason is DraftReason.MEASURED_GAIN else 0)
    assert lengths == sorted(lengths, reverse=True)
    assert lengths[0] > 0


def test_no_requests_is_an_empty_plan() -> None:
    policy = policy_on()
    plan = policy.choose([], other_tokens=50)
    assert plan.choices == []
    policy.observe(plan, [])
