"""Modes: who drafts and how far for a stretch of steps, where a change of shape costs something."""

from __future__ import annotations

import pytest

from exsa_lab.events import DraftReason
from exsa_lab.speculation.acceptance_rates import AcceptanceRates, DraftHistory
from exsa_lab.speculation.draft_plan import PLAIN, DraftChoice, DraftRequest, Mode, StepCosts, StepPlan
from exsa_lab.speculation.modes import WIDTHS, Modes

PRICE = 4.0
RECENT_ENOUGH = 60
"""Steps after which only they count as recent."""
VERIFY = [0.0, *(1.0 + 0.05 * (n - 1) for n in range(1, 200))]
DRAFT = [0.0, *(0.2 + 0.01 * n for n in range(1, 17))]
COPY = {"ngram_tokens": 16, "match_length": 40}


def costs_of(num: int, room: int = 100) -> StepCosts:
    return StepCosts(VERIFY, DRAFT, num, VERIFY[num], num + room)


def modes_of(price: float = PRICE, *, has_draft: bool = True) -> Modes:
    return Modes(AcceptanceRates(), price, has_draft=has_draft)


def request_of(drafter: str = "auto", **facts: int) -> DraftRequest:
    return DraftRequest(DraftHistory(), drafter, **facts)  # type: ignore[arg-type]


def plan_in(mode: Mode, requests: list[DraftRequest], modes: Modes) -> StepPlan:
    choices = [DraftChoice("none", 0, DraftReason.NOT_WORTH_IT)] * len(requests)
    rates = modes._rates
    return StepPlan(requests, choices, costs_of(len(requests)), rates, 1.0, mode.k, mode.k, mode=mode)


def choose(modes: Modes, requests: list[DraftRequest], horizon: int = 128, min_gain: float = 1.05) -> Mode:
    """The cheapest of all modes, at the price of the change."""
    costs = costs_of(len(requests))
    prices = {mode: modes.change_price(mode, len(requests), costs) for mode in modes.of(requests)}
    return modes.choose(requests, costs, prices, horizon, min_gain)


# Which


@pytest.mark.parametrize(
    ("drafter", "has_draft", "names"),
    [
        ("auto", True, {"ngram", "auto"}),
        ("auto", False, {"ngram"}),
        ("model", True, {"auto"}),
        ("model", False, set()),
        ("ngram", True, {"ngram"}),
        ("none", True, set()),
    ],
)
def test_only_modes_that_a_request_allows(drafter: str, has_draft: bool, names: set[str]) -> None:
    modes = modes_of(has_draft=has_draft)
    assert {mode.drafter for mode in modes.of([request_of(drafter)])} == names


def test_several_sequences_are_drafted_for_by_one_drafter_alone() -> None:
    found = modes_of().of([request_of(), request_of()])
    assert set(found) == {Mode(name, k) for name in ("ngram", "model") for k in WIDTHS[name]}


def test_in_a_mode_the_drafter_that_promises_more_drafts() -> None:
    modes, costs = modes_of(), costs_of(1)
    mode = Mode("auto", 7)
    copied = modes.draft_in(mode, request_of(**COPY), costs)
    assert copied == DraftChoice("ngram", 7, DraftReason.MEASURED_GAIN)
    sure = request_of(ngram_tokens=16, match_length=2)
    for _ in range(30):
        modes._rates.observe_model(sure.history, [0.9] * 4, 4)
    drafted = modes.draft_in(mode, sure, costs)
    assert drafted is not None
    assert drafted.drafter == "model"


def test_no_draft_is_longer_than_the_request_allows() -> None:
    modes, costs = modes_of(), costs_of(1)
    choice = modes.draft_in(Mode("ngram", 7), request_of(limit=2, **COPY), costs)
    assert choice is not None
    assert choice.k == 2
    assert modes.draft_in(Mode("ngram", 7), request_of(), costs) is None, "nothing to look up"
    assert modes.draft_in(Mode("model", 3), request_of(limit=0), costs) in (
        None,
        DraftChoice("model", 0, DraftReason.MEASURED_GAIN),
    )


# When


def test_a_change_pays_only_over_enough_tokens() -> None:
    modes, copying = modes_of(), [request_of("ngram", **COPY)]
    modes.observe(plan_in(PLAIN, copying, modes), 1)
    assert choose(modes, copying, horizon=4) == PLAIN
    assert choose(modes, copying, horizon=128).drafter == "ngram"


def test_a_gain_below_the_least_is_none() -> None:
    modes, copying = modes_of(), [request_of("ngram", **COPY)]
    assert choose(modes, copying, min_gain=1.05).drafter == "ngram"
    assert choose(modes, copying, min_gain=50.0) == PLAIN


def test_a_mode_is_left_only_where_the_way_back_pays() -> None:
    """The text turns: what is left decides."""
    modes = modes_of()
    copying, writing = [request_of("ngram", **COPY)], [request_of("ngram")]
    modes.observe(plan_in(Mode("ngram", 7), copying, modes), 8)
    for _ in range(100):
        modes.observe(plan_in(Mode("ngram", 7), writing, modes), 1)
    assert choose(modes, writing, horizon=128) == PLAIN
    assert choose(modes, writing, horizon=2) == Mode("ngram", 7)


def test_one_step_without_a_match_is_no_reason_to_change() -> None:
    modes, copying, writing = modes_of(), [request_of("ngram", **COPY)], [request_of("ngram")]
    for _ in range(50):
        modes.observe(plan_in(Mode("ngram", 7), copying, modes), 8)
    modes.observe(plan_in(Mode("ngram", 7), writing, modes), 1)
    assert choose(modes, writing) == choose(modes, copying)
    assert choose(modes, writing).drafter == "ngram"


def test_after_a_prompt_and_in_other_company_a_change_is_free() -> None:
    modes, costs = modes_of(), costs_of(1)
    mode = Mode("ngram", 7)
    assert modes.change_price(mode, 1, costs) == 0.0, "nothing decoded yet"
    modes.observe(plan_in(PLAIN, [request_of()], modes), 1)
    assert modes.change_price(mode, 1, costs) == pytest.approx(PRICE / costs.plain_seconds)
    assert modes.change_price(PLAIN, 1, costs) == 0.0
    assert modes.change_price(mode, 2, costs_of(2)) == 0.0, "the shape changes anyway"
    modes.interrupt()
    assert modes.change_price(mode, 1, costs) == 0.0
    choose(modes, [request_of()])
    assert modes.is_free


def test_of_equal_width_another_drafter_costs_no_change() -> None:
    modes = modes_of()
    modes.observe(plan_in(Mode("ngram", 7), [request_of()], modes), 1)
    assert modes.change_price(Mode("auto", 7), 1, costs_of(1)) == 0.0
    assert modes.change_price(Mode("auto", 3), 1, costs_of(1)) > 0.0


# What a token costs


def test_a_new_request_begins_with_the_usual_costs() -> None:
    modes, copying, writing = modes_of(), [request_of("ngram", **COPY)], [request_of("ngram")]
    for _ in range(100):
        modes.observe(plan_in(PLAIN, copying, modes), 1)
    for _ in range(RECENT_ENOUGH):
        modes.observe(plan_in(PLAIN, writing, modes), 1)
    mode, costs = Mode("ngram", 7), costs_of(1)
    lately = modes.cost(mode, writing, costs)
    modes.interrupt()
    usually = modes.cost(mode, writing, costs)
    assert usually < lately, "the last request's end is not the next one's beginning"
    assert modes.cost(Mode("ngram", 7), [request_of("ngram")] * 8, costs_of(8)) != usually, "another number, its own"


def test_before_anything_is_known_it_is_as_it_looks() -> None:
    modes, costs = modes_of(), costs_of(1)
    mode = Mode("ngram", 7)
    assert modes.cost(mode, [request_of(**COPY)], costs) < 0.5
    assert modes.cost(mode, [request_of()], costs) == pytest.approx(VERIFY[8])


def test_modes_that_the_step_has_no_room_for_are_not_learned_about() -> None:
    modes, copying = modes_of(), [request_of("ngram", **COPY)]
    plan = plan_in(PLAIN, copying, modes)
    plan.costs.max_tokens = 1 + 3
    modes.observe(plan, 1)
    assert set(modes._recent) == {Mode("ngram", 3)}
