"""What a step costs, and the decisions while the draft model drafts."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exsa_lab.config import DrafterName
from exsa_lab.events import DraftReason
from exsa_lab.speculation.acceptance_rates import AcceptanceRates, DraftHistory
from exsa_lab.speculation.draft_plan import DraftChoice, DraftRequest, StepPlan, Take
from exsa_lab.speculation.goodput import Mode, StepCosts

TARGET = [1.0 + 0.1 * n for n in range(80)]
DRAFT = [0.0, *(0.1 + 0.01 * n for n in range(8))]


def plan_of(
    num: int,
    k: int,
    *,
    limit: int = 16,
    mode: Mode | None = None,
    target: list[float] = TARGET,
    reason: DraftReason = DraftReason.MEASURED_GAIN,
    seconds_per_token: float = 0.5,
) -> StepPlan:
    """A plan in which so many sequences draft k tokens each with the model."""
    requests = [DraftRequest(DraftHistory(), "model", limit) for _ in range(num)]
    choices = [DraftChoice("model", k, reason) for _ in range(num)]
    costs = StepCosts(target[0], target, list(DRAFT))
    is_lockstep = mode is not None and mode.drafter == "model"
    costs = costs.in_mode(mode, num) if mode else costs
    return StepPlan(requests, choices, costs, AcceptanceRates(), seconds_per_token, is_lockstep=is_lockstep)


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
    """The second token costs two steps and the next three nothing, as where kernels change."""

    def first(room: int) -> Take:
        target = [1.0, *[2.0] * 4, *[99.0] * 70]
        plan = plan_of(1, 4, target=target[: room + 1])
        plan.rates.observe_model(plan.requests[0].history, [0.999] * 60, 60)
        return plan.take(0, 0.999)

    assert first(4) is Take.MORE
    assert first(1) is Take.STOP


@settings(deadline=None)
@given(st.integers(1, 4), st.integers(1, 8), st.integers(1, 16), st.integers(1, 40), st.floats(0, 1))
def test_no_draft_grows_beyond_its_limit_and_no_step_beyond_the_room(
    num: int, k: int, limit: int, room: int, confidence: float
) -> None:
    k = min(k, limit, room // num)
    if k:
        taken = draft(plan_of(num, k, limit=limit, target=TARGET[: room + 1]), confidence)
        assert max(taken) <= limit
        assert sum(taken) <= room


@pytest.mark.parametrize("confidence", [0.0, 0.999])
def test_in_lockstep_the_length_is_kept_whatever_the_confidence(confidence: float) -> None:
    plan = plan_of(3, 3, mode=Mode("model", 3))
    takes = [[plan.take(index, confidence) for index in range(3)] for _ in range(3)]
    assert takes == [[Take.MORE] * 3, [Take.MORE] * 3, [Take.LAST] * 3]


def test_a_probe_takes_nothing() -> None:
    assert plan_of(1, 1, reason=DraftReason.PROBING).take(0, 0.999) is Take.STOP


def test_where_the_batch_keeps_its_shape_only_the_drafts_decode_is_saved() -> None:
    """A token already computed costs nothing to verify: the width is paid for anyway."""
    assert plan_of(1, 3, mode=Mode("auto", 3)).take(0, 0.05) is not Take.STOP


def test_no_draft_is_longer_than_the_width() -> None:
    assert draft(plan_of(1, 1, mode=Mode("auto", 3)), 0.999) == [3]


def test_what_one_draft_leaves_another_does_not_pay_for() -> None:
    """The curve rises steeply: once the first sequence stopped, the second one's tokens are cheap again."""
    target = [1.0, 1.1, 1.2, *(float(n) for n in range(2, 80))]

    def second(confidence_of_first: float) -> int:
        plan = plan_of(2, 1, target=target)
        plan.take(0, confidence_of_first)
        return next(n for n in itertools.count() if plan.take(1, 0.97) is not Take.MORE)

    assert second(0.01) > second(0.999)


def test_who_looks_up_shares_no_decode_of_the_draft_model() -> None:
    """A token of the only draft is worth a whole decode, and not the half of one."""

    def first(drafter: DrafterName) -> Take:
        plan = plan_of(2, 4)
        plan.costs.draft[:] = [0.0, 0.26, 0.26]
        plan.choices[1].drafter = drafter
        return plan.take(0, 0.95)

    assert first("model") is Take.MORE
    assert first("ngram") is Take.LAST
