"""What a step costs, and the decisions while the draft model drafts."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exsa_lab.events import DraftReason
from exsa_lab.speculation.acceptance_rates import AcceptanceRates, DraftHistory
from exsa_lab.speculation.draft_plan import DraftChoice, DraftRequest, Mode, StepCosts, StepPlan, Take

TARGET = [1.0 + 0.1 * n for n in range(80)]
DRAFT = [0.0, *(0.1 + 0.01 * n for n in range(8))]


def plan_of(
    num: int, k: int, *, limit: int = 16, longest: int = 16, max_drafted: int = 80, **settings: object
) -> StepPlan:
    """A plan in which so many sequences draft k tokens each with the model."""
    requests = [DraftRequest(DraftHistory(), "model", limit) for _ in range(num)]
    choices = [DraftChoice("model", k, DraftReason.MEASURED_GAIN)] * num
    costs = StepCosts(TARGET[:max_drafted], DRAFT)
    plan = StepPlan(requests, choices, costs, AcceptanceRates(), **settings)  # type: ignore[arg-type]
    plan.seconds_per_token, plan.longest = 0.5, longest
    return plan


def draft(plan: StepPlan, confidence: float) -> list[int]:
    """Draft in lockstep with one confidence throughout; returns the tokens of each sequence."""
    taken = [0] * len(plan.choices)
    active = list(range(len(taken)))
    while active:
        going_on = []
        for index in active:
            take = plan.take(index, confidence)
            taken[index] += take is not Take.STOP
            if take is Take.MORE and taken[index] < plan.requests[index].limit:
                going_on.append(index)
        active = going_on
    return taken


def test_a_step_costs_what_it_verifies_and_what_the_draft_decodes() -> None:
    costs = StepCosts([1.0, 1.5, 1.75, 3.0, 3.5], [0.0, 0.25, 0.375])
    assert costs.plain == 1.0
    assert costs.seconds("ngram", 2, 2) == 3.5
    assert costs.seconds("model", 1, 3) == 3.75
    assert costs.seconds("model", 2, 1) == 2.125


def test_a_doubtful_token_ends_the_draft() -> None:
    assert draft(plan_of(1, 4), 0.05) == [0]
    assert draft(plan_of(3, 4), 0.05) == [0, 0, 0]


def test_sure_tokens_let_it_run_beyond_what_was_planned() -> None:
    assert draft(plan_of(1, 1), 0.999)[0] > 1


def test_surer_tokens_never_end_it_sooner() -> None:
    lengths = [draft(plan_of(1, 3), confidence)[0] for confidence in (0.1, 0.3, 0.6, 0.85, 0.93, 0.999)]
    assert lengths == sorted(lengths)
    assert lengths[0] == 0 < lengths[-1]


def test_a_token_is_looked_past_where_a_run_pays_and_it_alone_does_not() -> None:
    """The second token costs two steps and the next seven nothing, as where kernels change."""

    def first(limit: int) -> Take:
        plan = plan_of(1, limit, limit=limit)
        plan.rates.observe_model(plan.requests[0].history, [0.999] * 60, 60)
        plan.costs.target[:] = [1.0, *[2.0] * 8, *[99.0] * 70]
        plan.seconds_per_token = 0.6
        return plan.take(0, 0.999)

    assert first(8) is Take.MORE
    assert first(1) is Take.STOP


@settings(deadline=None)
@given(st.integers(1, 4), st.integers(1, 8), st.integers(1, 16), st.integers(1, 16), st.floats(0, 1))
def test_no_draft_grows_beyond_its_limits(num: int, k: int, limit: int, longest: int, confidence: float) -> None:
    taken = draft(plan_of(num, min(k, limit, longest), limit=limit, longest=longest), confidence)
    assert all(count <= min(limit, longest) for count in taken)


@pytest.mark.parametrize("confidence", [0.01, 0.999])
def test_in_lockstep_the_length_is_kept_whatever_the_confidence(confidence: float) -> None:
    plan = plan_of(3, 3, mode=Mode("model", 3), width=3)
    takes = [[plan.take(index, confidence) for index in range(3)] for _ in range(3)]
    assert takes == [[Take.MORE] * 3, [Take.MORE] * 3, [Take.LAST] * 3]


def test_a_probe_takes_nothing() -> None:
    plan = plan_of(1, 1, is_probe=True)
    assert plan.take(0, 0.999) is Take.STOP


def test_where_the_batch_keeps_its_shape_only_the_drafts_decode_is_saved() -> None:
    """A token already computed costs nothing to verify: the width is paid for anyway."""
    plan = plan_of(1, 3, longest=3, width=3)
    assert plan.take(0, 0.05) is not Take.STOP


def test_what_one_draft_leaves_another_does_not_pay_for() -> None:
    """The curve rises steeply: once the first sequence stopped, the second one's tokens are cheap again."""
    target = [1.0, 1.1, 1.2, *(float(n) for n in range(2, 80))]

    def second(confidence_of_first: float) -> int:
        plan = plan_of(2, 2)
        plan.costs.target[:] = target
        plan.take(0, confidence_of_first)
        return next(n for n in itertools.count() if plan.take(1, 0.97) is not Take.MORE)

    assert second(0.01) >= second(0.999)
