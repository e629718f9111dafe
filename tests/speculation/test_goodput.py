"""The search for the best draft lengths, against trying everything."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from exsa_lab.costs.model import CostModel
from exsa_lab.speculation.goodput import Candidate, StepCosts, best_lengths, doubted, perfect_gain, token_price, worth
from tests.speculation.simulator import MACHINES, Q8_0

survivals = st.lists(st.floats(0.021, 1), max_size=4).map(lambda values: sorted(values, reverse=True))
cost_tables = st.lists(st.floats(0.1, 5), min_size=16, max_size=16)


def goodput(candidates: list[Candidate], costs: StepCosts, lengths: tuple[int, ...]) -> float:
    """Straight from the definition."""
    expected = len(candidates) + sum(sum(c.survival[:k]) for c, k in zip(candidates, lengths, strict=True))
    model = [k for c, k in zip(candidates, lengths, strict=True) if c.uses_model]
    draft = sum(costs.draft[sum(k > place for k in model)] for place in range(max(model, default=0)))
    return expected / costs.seconds(costs.base_tokens + sum(lengths), draft)


def all_lengths(candidates: list[Candidate], costs: StepCosts) -> list[tuple[int, ...]]:
    ranges = [range(len(candidate.survival) + 1) for candidate in candidates]
    room = costs.max_tokens - costs.base_tokens
    return [lengths for lengths in itertools.product(*ranges) if sum(lengths) <= room]


def make_costs(table: list[float], draft: list[float], num: int, extra: int = 0, room: int = 99) -> StepCosts:
    base = num + extra
    return StepCosts([0.0, *table], draft, base, table[num - 1], min(len(table), base + room))


@settings(deadline=None)
@given(st.lists(survivals, min_size=1, max_size=3), cost_tables, st.integers(0, 1), st.integers(0, 12))
def test_free_drafts_get_the_best_lengths_on_any_cost_curve(
    drafts: list[list[float]], table: list[float], extra: int, room: int
) -> None:
    candidates = [Candidate(survival, uses_model=False) for survival in drafts]
    costs = make_costs(table, [], len(drafts), extra, room)
    lengths, rate = best_lengths(candidates, costs)
    best = max(goodput(candidates, costs, each) for each in all_lengths(candidates, costs))
    assert rate == pytest.approx(best)
    assert goodput(candidates, costs, tuple(lengths)) == pytest.approx(best)
    assert sum(lengths) <= room


@settings(deadline=None)
@given(survivals, cost_tables, st.floats(0.01, 2))
def test_one_model_draft_gets_the_best_length_on_any_cost_curve(
    survival: list[float], table: list[float], decode: float
) -> None:
    candidates = [Candidate(survival, uses_model=True)]
    costs = make_costs(table, [0.0, decode], 1)
    lengths, rate = best_lengths(candidates, costs)
    best = max(goodput(candidates, costs, each) for each in all_lengths(candidates, costs))
    assert rate == pytest.approx(best)
    assert goodput(candidates, costs, tuple(lengths)) == pytest.approx(best)


@settings(deadline=None)
@given(st.lists(survivals, min_size=2, max_size=3), st.lists(st.booleans(), min_size=3, max_size=3))
@example([[], [1.0, 0.875, 0.875], [1.0, 1.0, 0.625, 0.625]], [True, True, False])
def test_shared_model_drafts_come_near_the_best(drafts: list[list[float]], uses_model: list[bool]) -> None:
    candidates = [Candidate(s, uses_model=u) for s, u in zip(drafts, uses_model, strict=False)]
    table = [1.0, 1.3, 1.5, 1.6, 1.7, 1.8, 1.9, 2.0, 2.8, 2.9, 3.0, 3.1, 3.2, 3.3, 3.4, 3.5]
    costs = make_costs(table, [0.0, 0.15, 0.17, 0.19], len(candidates))
    lengths, rate = best_lengths(candidates, costs)
    assert rate == pytest.approx(goodput(candidates, costs, tuple(lengths)))
    assert rate >= 0.95 * max(goodput(candidates, costs, each) for each in all_lengths(candidates, costs))


def test_the_search_looks_over_a_jump() -> None:
    curve = MACHINES["jumpy"][0]
    verify = CostModel.from_measurements(curve).target.table(20)
    costs = StepCosts(verify, [], 1, verify[1], 17)
    survival = [0.99**j for j in range(1, 17)]
    assert best_lengths([Candidate(survival, uses_model=False)], costs)[0] == [7]  # not 1, where the jump begins


def test_prefill_in_the_step_makes_draft_tokens_no_cheaper() -> None:
    """A long prefill chunk beside would otherwise dilute every cost and make any draft look good."""
    verify = [0.0, *(1.0 + 0.5 * n for n in range(600))]
    draft = Candidate([0.45], uses_model=False)
    alone = StepCosts(verify, [], 1, verify[1], 10)
    beside = StepCosts(verify, [], 401, verify[1], 410)
    assert best_lengths([draft], alone) == best_lengths([draft], beside)


def test_catching_up_counts() -> None:
    verify = [0.0, 1.0, 1.2]
    draft = [0.0, *(0.05 * n for n in range(1, 400))]
    near = Candidate([0.5], uses_model=True, lag=1)
    far = Candidate([0.5], uses_model=True, lag=399)
    costs = StepCosts(verify, draft, 1, 1.0, 2)
    assert best_lengths([near], costs)[0] == [1]
    assert best_lengths([far], costs)[0] == [0]


@settings(deadline=None)
@given(survivals, cost_tables, st.integers(1, 3))
def test_no_draft_below_the_token_price_pays(survival: list[float], table: list[float], num: int) -> None:
    costs = make_costs(table, [], num)
    candidates = [Candidate(survival, uses_model=False)] * num
    if survival and survival[0] < token_price(costs, num):
        assert best_lengths(candidates, costs)[0] == [0] * num
        assert worth(candidates[0], costs, num, token_price(costs, num)) < 0


def test_perfect_drafts_gain_what_the_curve_allows() -> None:
    verify = CostModel.from_measurements(Q8_0).target.table(20)
    costs = StepCosts(verify, [], 1, verify[1], 17)
    assert perfect_gain(costs, 1, 15, uses_model=False)[0] == pytest.approx(16 / 5.7)
    steep = CostModel.from_measurements(MACHINES["steep"][0]).target.table(20)
    assert perfect_gain(StepCosts(steep, [], 1, steep[1], 17), 1, 15, uses_model=False) == (pytest.approx(1.0), 0)


@given(survival=survivals)
def test_doubt_takes_nothing_from_what_is_certain_and_turns_no_order(survival: list[float]) -> None:
    chances = doubted([1.0, *survival, 0.0])
    assert (chances[0], chances[-1]) == (1.0, 0.0)
    assert chances == sorted(chances, reverse=True)
    assert all(chance <= before for chance, before in zip(chances[1:], survival, strict=False))
