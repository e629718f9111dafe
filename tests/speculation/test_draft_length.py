"""The policy, decision by decision. How it does over whole texts is in test_draft_length_simulated.py."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exsa_lab.config import DrafterName
from exsa_lab.costs.model import CostModel
from exsa_lab.events import DraftReason
from exsa_lab.speculation.acceptance_rates import DraftHistory
from exsa_lab.speculation.draft_length import FIRST_GAP, PROBES, REST, DraftLengthPolicy
from exsa_lab.speculation.draft_plan import DraftOutcome, DraftRequest, Others, StepPlan, Take
from exsa_lab.speculation.goodput import PLAIN, Mode

MS = 1e-3
COPY = {"ngram_tokens": 16, "match_length": 40}
TILES = {n: 7.2 * MS * x for n, x in {1: 1, 2: 2.2, 3: 2.4, 4: 2.7, 5: 3.3, 8: 3.7, 16: 5.7, 64: 19}.items()}
SMALL_DRAFT = {1: 0.8 * MS, 4: 1.2 * MS, 16: 4 * MS, 64: 7 * MS, 256: 20 * MS}
FLAT = {1: 10 * MS, 64: 11 * MS, 512: 20 * MS}
CURVES = {
    "tiles": (TILES, SMALL_DRAFT),
    "flat": (FLAT, {1: 1 * MS, 64: 1.1 * MS, 512: 5 * MS}),
    "slow to read": (FLAT, {1: 1 * MS, 64: 5 * MS, 512: 40 * MS}),
    "steep": ({1: 5 * MS, 64: 320 * MS}, {1: 0.5 * MS, 64: 8 * MS}),
    "graphs": ({1: 1.16 * MS, 4: 1.6 * MS, 8: 2 * MS, 16: 3.7 * MS, 64: 5.6 * MS}, {1: 0.27 * MS, 64: 1.6 * MS}),
}


def costs_of(name: str) -> CostModel:
    target, draft = CURVES[name]
    price = {"target": 3.8 * MS, "draft": 1.2 * MS} if name == "graphs" else None
    return CostModel.from_measurements(target, draft, switch_seconds=price)  # type: ignore[arg-type]


def policy_on(name: str = "tiles", *, has_draft: bool = True) -> DraftLengthPolicy:
    return DraftLengthPolicy(costs_of(name), has_draft=has_draft)


def request_for(drafter: DrafterName = "auto", **facts: int) -> DraftRequest:
    return DraftRequest(DraftHistory(), drafter, **facts)


def teach(policy: DraftLengthPolicy, request: DraftRequest, *, is_right: bool, rounds: int = 60) -> None:
    """Let the draft model have been right or wrong for a while."""
    for _ in range(rounds):
        policy.rates.observe_model(request.history, [0.8] * 8, 8 if is_right else 0)


def enrich(policy: DraftLengthPolicy) -> None:
    """Let the guard have saved up all it may."""
    policy.guard.settle(1e3)


def is_probe(plan: StepPlan) -> bool:
    return any(choice.reason is DraftReason.PROBING for choice in plan.choices)


def seconds_of(plan: StepPlan, policy: DraftLengthPolicy) -> float:
    """What the step takes on a machine that is as calibrated."""
    lengths = [choice.k for choice in plan.choices]
    drafts = max((k for k, choice in zip(lengths, plan.choices, strict=True) if choice.drafter == "model"), default=0)
    num = len(lengths)
    width = 0 if is_probe(plan) else num * plan.width or sum(lengths)
    return policy.costs.step_seconds(num + width, num) + drafts * policy.costs.draft_seconds(1)


def finish(policy: DraftLengthPolicy, plan: StepPlan, *, is_right: bool) -> None:
    """All drafts of a step are accepted, or none."""
    outcomes = []
    for request, choice in zip(plan.requests, plan.choices, strict=True):
        if choice.reason is DraftReason.PROBING:
            policy.rates.observe_token(request.history, 0.8, is_right)
            outcomes.append(DraftOutcome(decodes=1))
            continue
        decodes = choice.k if choice.drafter == "model" else 0
        policy.rates.observe_model(request.history, [0.8] * decodes, decodes * is_right)
        outcomes.append(DraftOutcome(1 + choice.k * is_right, choice.k, decodes))
    policy.observe(plan, outcomes, seconds_of(plan, policy))


def go_on(policy: DraftLengthPolicy, requests: list[DraftRequest], *, is_right: bool = False) -> StepPlan:
    """Let the policy rest as long as it likes, and one step more."""
    rests = 0
    while policy.rests(len(requests)):
        rests += 1
        assert rests < 100
    plan = policy.choose(requests)
    finish(policy, plan, is_right=is_right)
    return plan


# Choices


def test_a_long_copy_is_drafted_from_the_text() -> None:
    choice = policy_on().choose([request_for(**COPY)]).choices[0]
    assert choice.drafter == "ngram"
    assert choice.k >= 3
    assert choice.reason is DraftReason.MEASURED_GAIN


def test_auto_takes_the_better_drafter() -> None:
    policy = policy_on("flat")
    trusted = request_for(ngram_tokens=16, match_length=2)
    teach(policy, trusted, is_right=True)
    assert policy.choose([trusted]).choices[0].drafter == "model"
    doubted = request_for(**COPY)
    teach(policy, doubted, is_right=False)
    assert policy.choose([doubted]).choices[0].drafter == "ngram"


@pytest.mark.parametrize("num", [1, 3])
@pytest.mark.parametrize("name", ["flat", "graphs"])
@pytest.mark.parametrize("drafter", ["model", "ngram", "none"])
def test_only_the_wanted_drafter_drafts(drafter: DrafterName, name: str, num: int) -> None:
    policy = policy_on(name)
    requests = [request_for(drafter, **COPY) for _ in range(num)]
    for request in requests:
        teach(policy, request, is_right=True)
    enrich(policy)
    for choice in policy.choose(requests).choices:
        assert choice.drafter == drafter
        assert (choice.k > 0) == (drafter != "none")
        assert (choice.reason is DraftReason.NO_DRAFTER) == (drafter == "none")


@pytest.mark.parametrize("name", ["flat", "graphs"])
def test_without_match_and_draft_model_there_is_no_drafter(name: str) -> None:
    policy = policy_on(name, has_draft=False)
    assert policy.choose([request_for()]).choices[0].reason is DraftReason.NO_DRAFTER


@pytest.mark.parametrize("num", [1, 4])
def test_where_even_a_perfect_draft_loses_nothing_is_ever_tried(num: int) -> None:
    policy = policy_on("steep")
    requests = [request_for(**COPY) for _ in range(num)]
    for request in requests:
        teach(policy, request, is_right=True)
    enrich(policy)
    for _ in range(3 * FIRST_GAP):
        plan = policy.choose(requests)
        assert all(choice.k == 0 for choice in plan.choices)
        assert all(choice.reason is DraftReason.CANNOT_WIN for choice in plan.choices)
        finish(policy, plan, is_right=True)


def test_a_gain_within_what_calibration_may_be_wrong_by_is_not_worth_it() -> None:
    points = {1: 1.0, 2: 1.9, 3: 2.9, 4: 3.9, 64: 70.0}
    policy = DraftLengthPolicy(CostModel.from_measurements(points), has_draft=False)
    enrich(policy)
    assert policy.choose([request_for(ngram_tokens=1, match_length=127)]).choices[0].k == 0


def test_catching_up_is_priced_by_what_is_left_to_write() -> None:
    """Reading a prompt of 1200 tokens takes some ten steps; a few tokens never bring them back."""
    policy = policy_on("slow to read")
    enrich(policy)

    def length(lag: int, tokens_left: int) -> int:
        request = request_for("model", draft_lag=lag, tokens_left=tokens_left, limit=min(16, tokens_left))
        teach(policy, request, is_right=True)
        return policy.choose([request]).choices[0].k

    assert length(1, 4) > 0
    assert length(1200, 4) == 0
    assert length(1200, 400) > 0


def test_a_prompt_that_the_guard_does_not_cover_is_not_caught_up_with() -> None:
    policy = policy_on("slow to read")
    request = request_for("model", draft_lag=1200)
    teach(policy, request, is_right=True)
    assert policy.choose([request]).choices[0].k == 0
    enrich(policy)
    assert policy.choose([request]).choices[0].k > 0


def test_another_request_that_is_plain_takes_nothing_from_those_that_draft() -> None:
    policy = policy_on("flat")
    enrich(policy)
    alone = policy.choose([request_for(**COPY)])
    policy.interrupt()
    beside = policy.choose([request_for(**COPY), request_for("none", **COPY)], Others(2, drafted=1))
    assert beside.choices[0].drafter == "ngram"
    assert beside.choices[0].k <= alone.choices[0].k
    assert beside.choices[1].k == 0
    assert beside.choices[1].reason is DraftReason.NO_DRAFTER


def test_tokens_without_a_choice_cost_a_draft_nothing_but_where_they_put_it_on_the_curve() -> None:
    """Seven of them have paid for the stair that ends at eight tokens: the draft's first there is nearly free."""
    policy = policy_on("tiles", has_draft=False)
    policy.guard.balance = 20.0
    doubtful = {"ngram_tokens": 1, "match_length": 3}
    assert policy.choose([request_for("ngram", **doubtful)]).choices[0].k == 0
    assert policy.choose([request_for("ngram", **doubtful)], Others(certain=6)).choices[0].k == 1


def test_the_guard_is_not_told_of_the_time_that_tokens_without_a_choice_take() -> None:
    policy = policy_on("tiles")
    before = policy.guard.balance
    plan = policy.choose([request_for("ngram", **COPY)], Others(certain=6))
    k = plan.choices[0].k
    plain, verified = policy.costs.target(1), policy.costs.target(7 + k) - policy.costs.target(7)
    policy.observe(plan, [DraftOutcome(1, k)], policy.costs.target(7 + k))
    lost = before - policy.guard.balance
    assert k > 0
    assert lost == pytest.approx(verified / plain, abs=0.05)


@pytest.mark.parametrize("name", ["tiles", "flat"])
def test_better_drafts_are_never_chosen_shorter(name: str) -> None:
    lengths = []
    for good in range(0, 9, 2):
        policy = policy_on(name)
        request = request_for("model")
        for _ in range(60):
            policy.rates.observe_model(request.history, [0.8] * 8, good)
        enrich(policy)
        lengths.append(policy.choose([request]).choices[0].k)
    assert lengths == sorted(lengths)
    assert lengths[-1] > lengths[0]


def test_dearer_drafts_are_never_chosen_longer() -> None:
    lengths = []
    for factor in (0.2, 1.0, 3.0, 10.0):
        draft = {n: factor * seconds for n, seconds in SMALL_DRAFT.items()}
        policy = DraftLengthPolicy(CostModel.from_measurements(FLAT, draft), has_draft=True)
        request = request_for("model")
        teach(policy, request, is_right=True)
        enrich(policy)
        lengths.append(policy.choose([request]).choices[0].k)
    assert lengths == sorted(lengths, reverse=True)
    assert lengths[0] > lengths[-1]


# The guard


@pytest.mark.parametrize("name", ["tiles", "flat", "graphs"])
def test_drafting_rests_once_the_allowance_is_lost(name: str) -> None:
    policy = policy_on(name)
    request = request_for(**COPY)
    teach(policy, request, is_right=True)
    enrich(policy)
    assert policy.choose([request]).choices[0].k > 0
    policy.interrupt()
    policy.guard.balance = -0.1
    choice = policy.choose([request]).choices[0]
    assert choice.k == 0
    assert choice.reason is DraftReason.NOT_WORTH_IT


def test_little_left_allows_short_drafts_only() -> None:
    policy = policy_on(has_draft=False)
    request = request_for("ngram", **COPY)
    enrich(policy)
    rich = policy.choose([request]).choices[0].k
    policy.guard.balance = 1.5
    poor = policy.choose([request]).choices[0].k
    assert 0 < poor < rich
    assert policy.costs.step_seconds(1 + poor) <= 2.5 * policy.costs.step_seconds(1)


def test_losses_are_charged_and_gains_credited_by_the_clock() -> None:
    policy = policy_on()
    plan = policy.choose([request_for(**COPY)])
    before, plain = policy.guard.balance, policy.costs.step_seconds(1)
    k = plan.choices[0].k
    seconds = seconds_of(plan, policy)
    policy.observe(plan, [DraftOutcome(1, k)], seconds)
    steps = seconds / plain
    assert policy.guard.balance == pytest.approx(before - (steps - 1) + 0.01 * steps)
    policy.observe(plan, [DraftOutcome(1 + k, k)], seconds)
    assert policy.guard.balance == pytest.approx(before - 2 * (steps - 1) + 0.02 * steps + k)


def test_another_programs_pause_is_not_charged_in_full() -> None:
    policy = policy_on()
    plan = policy.choose([request_for(**COPY)])
    before = policy.guard.balance
    policy.observe(plan, [DraftOutcome(1, plan.choices[0].k)], 10.0)
    expected = seconds_of(plan, policy) / policy.costs.step_seconds(1)
    assert before - policy.guard.balance < 2 * expected


@pytest.mark.parametrize("name", ["tiles", "flat", "graphs"])
@pytest.mark.parametrize("drafter", ["auto", "model", "ngram"])
def test_whatever_is_drafted_and_refused_the_loss_is_bounded(name: str, drafter: DrafterName) -> None:
    """The rates are made to hope for ever, so that only the guard can stop it."""
    policy = policy_on(name)
    policy.rates.model_survival = lambda history, n: [0.98] * n  # type: ignore[method-assign]
    policy.rates.lookup_survival = lambda history, match, n: [0.98] * n  # type: ignore[method-assign]
    request, plain, seconds = request_for(drafter, **COPY), policy.costs.step_seconds(1), 0.0
    allowance, num, width = policy.guard.balance, 2000, 0
    for _ in range(num):
        plan = policy.choose([request])
        finish(policy, plan, is_right=False)
        seconds += seconds_of(plan, policy)
        if plan.width != width:
            seconds, width = seconds + 3.8 * MS * (name == "graphs"), plan.width
    dearest = policy.costs.step_seconds(17) / plain + 16 * policy.costs.draft_seconds(1) / plain
    dearest *= REST if policy.price else 1  # a mode is weighed again after so many steps
    assert seconds / plain - num <= 0.01 * seconds / plain + allowance + dearest


# Probes


def probe_steps(policy: DraftLengthPolicy, requests: list[DraftRequest], num: int, *, is_right: bool) -> list[int]:
    """The steps of ``num`` in which the draft model only proposes."""
    probes = []
    for step in range(num):
        if policy.rests(len(requests)):
            continue
        plan = policy.choose(requests)
        if is_probe(plan):
            probes.append(step)
            reasons = [choice.reason for choice in plan.choices]
            assert reasons.count(DraftReason.PROBING) == 1
        finish(policy, plan, is_right=is_right)
    return probes


@pytest.mark.parametrize("name", ["tiles", "graphs"])
def test_a_draft_model_that_fails_is_probed_ever_more_rarely(name: str) -> None:
    policy = policy_on(name)
    request = request_for("model")
    teach(policy, request, is_right=False)
    probes = probe_steps(policy, [request], 5000, is_right=False)
    starts = [probes[0], *(b for a, b in itertools.pairwise(probes) if b > a + 1)]
    gaps = [b - a for a, b in itertools.pairwise([0, *starts])]
    assert len(probes) == PROBES * len(starts)
    assert gaps[0] == pytest.approx(FIRST_GAP, abs=REST + 2)
    assert all(gap >= 1.9 * before for before, gap in itertools.pairwise(gaps))


@pytest.mark.parametrize("name", ["flat", "graphs"])
def test_a_draft_model_that_turns_good_is_found_by_a_probe(name: str) -> None:
    policy = policy_on(name)
    request = request_for("model")
    teach(policy, request, is_right=False, rounds=200)
    for _ in range(20 * FIRST_GAP):
        if policy.rests(1):
            continue
        plan = policy.choose([request])
        if plan.choices[0].reason is DraftReason.MEASURED_GAIN:
            return
        finish(policy, plan, is_right=True)
    pytest.fail("never drafted again")


def test_a_draft_model_in_use_needs_no_probes() -> None:
    policy = policy_on("flat")
    request = request_for("model")
    teach(policy, request, is_right=True)
    assert probe_steps(policy, [request], 2 * FIRST_GAP, is_right=True) == []


def test_the_sequence_nearest_to_its_draft_is_probed() -> None:
    policy = policy_on("tiles")
    requests = [request_for("model", draft_lag=lag) for lag in (90, 3, 40)]
    requests.append(request_for("ngram", draft_lag=1))
    for request in requests:
        teach(policy, request, is_right=False)
    for _ in range(2 * FIRST_GAP):
        plan = policy.choose(requests)
        if is_probe(plan):
            assert [choice.drafter for choice in plan.choices] == ["none", "model", "none", "none"]
            assert plan.take(1, 0.99) is Take.STOP
            return
        finish(policy, plan, is_right=False)
    pytest.fail("never probed")


@pytest.mark.parametrize("name", ["tiles", "steep"])
def test_nothing_is_probed_where_nobody_wants_or_could_use_the_draft_model(name: str) -> None:
    policy = policy_on(name)
    request = request_for("ngram" if name == "tiles" else "auto")
    assert probe_steps(policy, [request], 3 * FIRST_GAP, is_right=True) == []


# Plain steps that were decided before


def test_a_batch_rests_after_a_step_that_was_not_worth_a_draft() -> None:
    policy = policy_on(has_draft=False)
    requests = [request_for(ngram_tokens=4, match_length=2) for _ in range(4)]
    policy.rates.observe_lookup(requests[0].history, [(2, False)] * 100)
    plan = policy.choose(requests)
    assert not any(choice.k for choice in plan.choices)
    finish(policy, plan, is_right=False)
    assert not policy.rests(1), "another company"
    assert [policy.rests(4) for _ in range(REST + 1)] == [True] * REST + [False]


def test_a_lone_sequence_is_weighed_as_soon_as_it_has_a_longer_match() -> None:
    policy = policy_on(has_draft=False)
    assert go_on(policy, [request_for()]).choices[0].k == 0
    assert not policy.rests(1)
    assert policy.choose([request_for(**COPY)]).choices[0].k > 0


def test_a_batch_that_drafts_does_not_rest() -> None:
    policy = policy_on("flat", has_draft=False)
    plan = policy.choose([request_for(**COPY) for _ in range(2)])
    assert any(choice.k for choice in plan.choices)
    finish(policy, plan, is_right=True)
    assert not policy.rests(2)


@pytest.mark.parametrize("name", ["tiles", "graphs"])
def test_a_prompt_ends_what_was_decided_before(name: str) -> None:
    policy = policy_on(name)
    requests = [request_for("ngram") for _ in range(2)]
    finish(policy, policy.choose(requests), is_right=False)
    assert policy.rests(2)
    policy.interrupt()
    assert not policy.rests(2)


def test_where_shapes_cost_something_the_next_mode_is_known_for_the_same_company_only() -> None:
    policy = policy_on("graphs")
    request = request_for("ngram")
    assert policy.next_mode(1) is None
    finish(policy, policy.choose([request]), is_right=False)
    assert policy.next_mode(1) == PLAIN
    assert policy.rests(1)
    assert policy.next_mode(2) is None
    assert not policy.rests(2)


def test_between_rests_the_text_that_turned_is_found() -> None:
    policy = policy_on("graphs", has_draft=False)
    writing, copying = request_for("ngram"), request_for("ngram", **COPY)
    finish(policy, policy.choose([writing]), is_right=False)
    for _ in range(40):
        go_on(policy, [copying])
        if policy.next_mode(1) != PLAIN:
            break
    assert not policy.rests(1)
    assert policy.choose([copying]).choices[0].drafter == "ngram"


@pytest.mark.parametrize(("num", "rest"), [(1, REST), (32, REST + 4)])
def test_large_batches_are_weighed_more_rarely(num: int, rest: int) -> None:
    policy = policy_on("graphs")
    requests = [request_for("ngram") for _ in range(num)]
    finish(policy, policy.choose(requests), is_right=False)
    assert [policy.rests(num) for _ in range(rest + 1)] == [True] * rest + [False]


# Modes


def test_who_changes_the_mode_pays_the_way() -> None:
    policy = policy_on("graphs", has_draft=False)
    writing, copying = request_for("ngram"), request_for("ngram", **COPY)
    plain, share = policy.costs.step_seconds(1), 0.01
    finish(policy, policy.choose([writing]), is_right=False)
    before = policy.guard.balance
    while policy.next_mode(1) == PLAIN:
        go_on(policy, [copying])
        before += share * (REST + 1)
    assert policy.guard.balance == pytest.approx(before - 3.8 * MS / plain, abs=0.05)


def test_a_change_at_a_prompt_is_free() -> None:
    policy = policy_on("graphs", has_draft=False)
    before = policy.guard.balance
    plan = policy.choose([request_for("ngram", **COPY)])
    assert plan.change_seconds == pytest.approx(3.8 * MS / 2)
    assert policy.guard.balance == before
    plain, k = policy.costs.step_seconds(1), plan.width
    seconds = policy.costs.step_seconds(1 + k)
    policy.observe(plan, [DraftOutcome(1 + k, k)], seconds + plan.change_seconds)
    gain = k - seconds / plain + 1 + 0.01 * seconds / plain
    assert policy.guard.balance == pytest.approx(min(before + gain, 2 * before))


def test_at_a_prompt_the_guard_need_not_cover_a_change_that_is_free() -> None:
    policy, copying = policy_on("graphs", has_draft=False), request_for("ngram", **COPY)
    policy.guard.balance = 1.0
    assert policy.guard.balance < policy.price / policy.costs.target(1)
    finish(policy, policy.choose([request_for("ngram")]), is_right=False)
    for _ in range(10):
        assert go_on(policy, [copying]).width == 0
    policy.interrupt()
    assert policy.choose([copying]).width > 0


def test_tokens_without_a_choice_take_places_of_the_width_only() -> None:
    policy = policy_on("graphs", has_draft=False)
    enrich(policy)
    width = policy.choose([request_for("ngram", **COPY)]).width
    plan = policy.choose([request_for("ngram", num_filled=2, **COPY)])
    assert (plan.width, plan.choices[0].k) == (width, width - 2)


@pytest.mark.parametrize("has_draft", [True, False])
@pytest.mark.parametrize("num", [1, 2])
@pytest.mark.parametrize("drafter", ["auto", "model", "ngram", "none"])
def test_only_modes_that_a_request_allows(drafter: DrafterName, num: int, has_draft: bool) -> None:
    policy = policy_on("graphs", has_draft=has_draft)
    requests = [request_for(drafter, **COPY) for _ in range(num)]
    for request in requests:
        teach(policy, request, is_right=True)
    enrich(policy)
    plan = policy.choose(requests)
    can = {"ngram": drafter in ("auto", "ngram"), "model": drafter in ("auto", "model") and has_draft}
    assert (plan.width > 0) == any(can.values())
    assert all(can[choice.drafter] for choice in plan.choices if choice.k)


def test_a_change_pays_only_over_enough_tokens() -> None:
    for tokens_left, changes in ((4, False), (400, True)):
        policy = policy_on("graphs", has_draft=False)
        enrich(policy)
        finish(policy, policy.choose([request_for("ngram")]), is_right=False)
        for _ in range(40):
            go_on(policy, [request_for("ngram", tokens_left=tokens_left, **COPY)])
        assert (policy.next_mode(1) != PLAIN) == changes


def test_a_mode_is_kept_over_a_step_without_a_match_and_left_where_the_text_turned() -> None:
    policy = policy_on("graphs", has_draft=False)
    enrich(policy)
    for _ in range(20):
        go_on(policy, [request_for("ngram", **COPY)], is_right=True)
    writing = request_for("ngram")
    assert go_on(policy, [writing]).width > 0
    assert go_on(policy, [writing]).width > 0
    for _ in range(100):
        go_on(policy, [writing])
    assert policy.next_mode(1) == PLAIN


def test_a_lone_text_is_judged_by_itself_and_a_batch_by_the_usual_costs() -> None:
    for num, drafts in ((1, False), (2, True)):
        policy = policy_on("graphs", has_draft=False)
        enrich(policy)
        for _ in range(100):
            go_on(policy, [request_for("ngram", **COPY) for _ in range(num)], is_right=True)
        policy.interrupt()
        plan = policy.choose([request_for("ngram") for _ in range(num)])
        assert (plan.width > 0) == drafts, "the texts before were copies"


def test_a_mode_goes_on_without_cover_for_a_change() -> None:
    policy, copying = policy_on("graphs", has_draft=False), request_for("ngram", **COPY)
    for _ in range(20):
        go_on(policy, [copying], is_right=True)
    width = policy.choose([copying]).width
    policy.guard.balance = policy.price / policy.costs.target(1)
    assert policy._decide([copying], policy._costs).k == width > 0


def test_lookup_needs_no_cover_for_the_draft_models_decodes() -> None:
    for drafter, drafts in (("ngram", True), ("model", False)):
        policy, request = policy_on("graphs"), request_for(drafter, **COPY)
        for _ in range(5):
            teach(policy, request, is_right=True)
        policy.guard.balance = policy.costs.target(4) / policy.costs.target(1) - 1.0
        assert (policy.choose([request]).width > 0) == drafts, drafter


@pytest.mark.parametrize("num", [1, 4])
def test_what_lookup_would_have_found_may_be_risked_and_by_nobody_else(num: int) -> None:
    for drafter, repeated, drafts in (("ngram", 0, False), ("ngram", 30, True), ("model", 30, False)):
        policy = policy_on("graphs")
        requests = [request_for(drafter, **COPY, num_repeated=repeated) for _ in range(num)]  # type: ignore[arg-type]
        for request in requests:
            teach(policy, request, is_right=True)
            policy.rates.observe_lookup(request.history, [(40, True)] * 100)
        policy.guard.balance = -1.0
        assert (policy.choose(requests).width > 0) == drafts, (drafter, repeated)


def in_use(policy: DraftLengthPolicy, requests: list[DraftRequest]) -> StepPlan:
    """The plan for a draft model that has long been right."""
    for request in requests:
        teach(policy, request, is_right=True)
    enrich(policy)
    return policy.choose(requests)


def test_the_price_of_a_change_decides_whether_there_are_modes() -> None:
    for price, has_modes in ((0.0, False), (0.0001, False), (0.0038, True)):
        costs = CostModel.from_measurements({1: 0.00116, 8: 0.002}, {1: 0.0003}, switch_seconds={"target": price})
        assert (DraftLengthPolicy(costs, has_draft=True).price > 0) == has_modes


def test_a_batch_drafts_in_lockstep_where_shapes_cost_something() -> None:
    plan = in_use(policy_on("graphs"), [request_for("model") for _ in range(3)])
    assert plan.is_lockstep
    assert plan.width > 0
    assert {choice.k for choice in plan.choices} == {plan.width}
    assert [plan.take(0, 0.01) for _ in range(plan.width)][-1] is Take.LAST


def test_a_draft_near_the_end_of_the_text_is_shorter_than_the_width() -> None:
    plan = in_use(policy_on("graphs"), [request_for("model", limit=2), request_for("model")])
    assert plan.choices[0].k == 2
    assert plan.width > 2


def test_the_width_stays_while_nothing_else_changes() -> None:
    """Right two times in three: one length is found and kept, whatever single steps bring."""
    policy, request, widths = policy_on("graphs"), request_for("model"), []
    for step in range(300):
        if policy.rests(1):
            continue
        plan = policy.choose([request])
        widths.append(plan.width)
        k = plan.choices[0].k
        accepted = min(k, (0, 4, 2, 1, 3, 0, 5)[step % 7])
        policy.rates.observe_model(request.history, [0.7] * k, accepted)
        policy.observe(plan, [DraftOutcome(1 + accepted, k, k)], seconds_of(plan, policy))
    assert sum(a != b for a, b in itertools.pairwise(widths)) <= 4


@pytest.mark.parametrize("room", [0, 1, 3, 5, 8, 16, 40])
def test_the_width_fits_the_budget(room: int) -> None:
    policy = policy_on("graphs")
    requests = [request_for("ngram", **COPY) for _ in range(3)]
    enrich(policy)
    plan = policy.choose(requests, Others(1, drafted=1), room=room)
    assert 3 * plan.width <= room
    assert (plan.width > 0) == (room >= 9)


def test_a_mode_decided_on_gives_way_to_a_smaller_budget() -> None:
    policy = policy_on("graphs")
    requests = [request_for(**COPY) for _ in range(3)]
    enrich(policy)
    finish(policy, policy.choose(requests), is_right=True)
    assert policy.next_mode(3) not in (None, PLAIN)
    plan = policy.choose(requests, room=4)
    assert sum(choice.k for choice in plan.choices) <= 4
    assert not plan.width


def test_in_a_mode_of_auto_either_drafter_may_draft_a_step() -> None:
    policy = policy_on("graphs")
    plan = in_use(policy, [request_for("auto")])
    assert policy.next_mode(1) == Mode("auto", plan.width)
    assert plan.choices[0].drafter == "model"
    finish(policy, plan, is_right=True)
    again = policy.choose([DraftRequest(plan.requests[0].history, **COPY)])  # type: ignore[arg-type]
    assert again.width == plan.width
    assert again.choices[0].drafter == "ngram"


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
    min_size=1,
    max_size=6,
)


@settings(deadline=None, max_examples=60)
@given(
    requests_strategy,
    st.sampled_from(sorted(CURVES)),
    st.integers(0, 100),
    st.integers(0, 100),
    st.integers(0, 40),
    st.floats(-2, 24),
    st.booleans(),
)
def test_choices_keep_to_limits_and_budget_and_have_a_reason(
    facts: list[tuple[DrafterName, int, int, int, int, bool]],
    name: str,
    drafted: int,
    certain: int,
    room: int,
    balance: float,
    has_draft: bool,
) -> None:
    policy = policy_on(name, has_draft=has_draft)
    requests = []
    for drafter, limit, ngram_tokens, match_length, lag, is_good in facts:
        requests.append(DraftRequest(DraftHistory(), drafter, limit, ngram_tokens, match_length, lag))
        teach(policy, requests[-1], is_right=is_good, rounds=5)
    policy.guard.balance = balance
    others = Others(1, drafted, certain)
    plan = policy.choose(requests, others, room=room)
    again = policy.choose(requests, others, room=room)
    assert plan.choices == again.choices
    assert sum(choice.k for choice in plan.choices) <= room
    for request, choice in zip(requests, plan.choices, strict=True):
        assert 0 <= choice.k <= request.limit
        assert (choice.k == 0) == (choice.drafter == "none")
        assert (choice.reason is DraftReason.MEASURED_GAIN) == (choice.k > 0)
        assert choice.reason in DraftReason
        if choice.k:
            assert request.drafter in ("auto", choice.drafter)
        if choice.drafter == "ngram":
            assert choice.k <= request.ngram_tokens
        if choice.drafter == "model":
            assert has_draft
