"""The search for the best draft lengths, against trying everything."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from exsa_lab.config import DrafterName
from exsa_lab.costs.model import CostModel
from exsa_lab.speculation.draft_plan import StepCosts
from exsa_lab.speculation.goodput import NOTHING, SMALL, Candidate, best_length, best_lengths, perfect_gain, worth
from tests.speculation.simulator import MACHINES

survivals = st.lists(st.floats(0.021, 1), max_size=4).map(lambda values: sorted(values, reverse=True))
cost_tables = st.lists(st.floats(0.1, 5), min_size=16, max_size=16)
return_costs = st.sampled_from([0.0, 0.2])
JUMPY = {1: 5.0, 2: 5.2, 3: 11.0, 8: 11.5, 9: 22.0, 16: 23.0, 64: 80.0}


def goodput(candidates: list[Candidate], costs: StepCosts, lengths: tuple[int, ...]) -> float:
    """Straight from the definition: each token of a model takes its share of a decode of all models."""
    expected = len(candidates) + sum(sum(c.survival[:k]) for c, k in zip(candidates, lengths, strict=True))
    num_model = sum(c.drafter == "model" for c in candidates)
    share = costs.draft[num_model] / num_model if num_model else 0.0
    drafting = [(c, k) for c, k in zip(candidates, lengths, strict=True) if k]
    seconds = sum(share * k * (c.drafter == "model") + c.catch_up for c, k in drafting)
    return expected / (costs.seconds(sum(lengths)) + seconds)


def all_lengths(candidates: list[Candidate], costs: StepCosts) -> list[tuple[int, ...]]:
    ranges = [range(len(candidate.survival) + 1) for candidate in candidates]
    room = costs.max_tokens - costs.base_tokens
    return [lengths for lengths in itertools.product(*ranges) if sum(lengths) <= room]


def best_of_all(candidates: list[Candidate], costs: StepCosts) -> float:
    return max(goodput(candidates, costs, lengths) for lengths in all_lengths(candidates, costs))


def make_costs(
    table: list[float], draft: list[float], num: int, *, extra: int = 0, room: int = 99, back: float = 0.0
) -> StepCosts:
    base = num + extra
    return StepCosts([0.0, *table], draft, base, table[num - 1], min(len(table), base + room), back)


@settings(deadline=None)
@given(
    st.lists(survivals, min_size=1, max_size=3),
    cost_tables,
    st.integers(0, 1),
    st.integers(0, 12),
    return_costs,
)
def test_lookups_get_the_best_lengths_on_any_cost_curve(
    drafts: list[list[float]], table: list[float], extra: int, room: int, back: float
) -> None:
    candidates = [Candidate("ngram", survival) for survival in drafts]
    table = sorted(table) if extra else table  # beside others, a falling curve would make a draft's price negative
    costs = make_costs(table, [], len(drafts), extra=extra, room=room, back=back)
    lengths, rate = best_lengths(candidates, costs)
    assert rate == pytest.approx(best_of_all(candidates, costs))
    assert goodput(candidates, costs, tuple(lengths)) == pytest.approx(rate)
    assert sum(lengths) <= room


@settings(deadline=None)
@given(survivals, cost_tables, st.floats(0.01, 2), st.floats(0, 3), st.integers(0, 4), return_costs)
def test_one_sequence_gets_the_best_length_on_any_cost_curve(
    survival: list[float], table: list[float], decode: float, catch_up: float, room: int, back: float
) -> None:
    costs = make_costs(table, [0.0, decode], 1, room=room, back=back)
    for candidate in (Candidate("model", survival, catch_up), Candidate("ngram", survival)):
        length, rate = best_length(candidate, costs)
        assert rate == pytest.approx(best_of_all([candidate], costs))
        assert goodput([candidate], costs, (length,)) == pytest.approx(rate)
        assert length <= room


@settings(deadline=None)
@given(
    st.lists(survivals, min_size=2, max_size=3),
    st.lists(st.sampled_from(["model", "ngram"]), min_size=3, max_size=3),
    st.lists(st.sampled_from([0.0, 0.0, 0.1]), min_size=3, max_size=3),
)
@example([[], [1.0, 0.875, 0.875], [1.0, 1.0, 0.625, 0.625]], ["model", "model", "ngram"], [0.0, 0.0, 0.0])
def test_drafts_of_both_kinds_come_near_the_best(
    drafts: list[list[float]], names: list[DrafterName], catch_up: list[float]
) -> None:
    """Which draft's tokens to take first is exact for one kind and a good guess for two."""
    some = zip(names, drafts, catch_up, strict=False)
    candidates = [Candidate(name, s, paid if name == "model" else 0.0) for name, s, paid in some]
    table = [1.0, 1.3, 1.5, 1.6, 1.7, 1.8, 1.9, 2.0, 2.8, 2.9, 3.0, 3.1, 3.2, 3.3, 3.4, 3.5]
    costs = make_costs(table, [0.0, 0.15, 0.17, 0.19], len(candidates))
    lengths, rate = best_lengths(candidates, costs)
    assert rate == pytest.approx(goodput(candidates, costs, tuple(lengths)))
    assert rate >= 0.93 * best_of_all(candidates, costs)


@settings(deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from(["model", "ngram"]), survivals, st.floats(0, 2)), min_size=1, max_size=6),
    cost_tables,
    return_costs,
)
def test_never_worse_than_plain(
    drafts: list[tuple[DrafterName, list[float], float]], table: list[float], back: float
) -> None:
    candidates = [Candidate(*draft) for draft in drafts]
    num = len(candidates)
    costs = make_costs(table, [0.1 * n for n in range(num + 1)], num, back=back)
    lengths, rate = best_lengths(candidates, costs)
    plain = num / costs.plain_seconds
    assert rate >= plain
    assert rate > plain or not any(lengths)
    assert best_length(candidates[0], make_costs(table, [0.0, 0.1], 1))[1] >= 1 / table[0]


def test_the_search_looks_over_a_jump() -> None:
    verify = CostModel.from_measurements(JUMPY).target.table(20)
    costs = StepCosts(verify, [], 1, verify[1], 17)
    candidate = Candidate("ngram", [0.99**j for j in range(1, 17)])
    assert best_length(candidate, costs)[0] == 7  # not 1, where the jump begins
    assert best_lengths([candidate], costs)[0] == [7]


def test_others_in_the_step_make_draft_tokens_no_cheaper() -> None:
    """Many tokens beside would otherwise dilute every cost and make any draft look good."""
    verify = [0.0, *(1.0 + 0.5 * n for n in range(600))]
    draft = Candidate("ngram", [0.45])
    alone = StepCosts(verify, [], 1, verify[1], 10)
    beside = StepCosts(verify, [], 401, verify[1], 410)
    assert best_lengths([draft], alone) == best_lengths([draft], beside)


def test_catching_up_and_the_way_back_count() -> None:
    draft = [0.0, 0.05]
    for costs, catch_up, length in (
        (StepCosts([0.0, 1.0, 1.2], draft, 1, 1.0, 2), 0.0, 1),
        (StepCosts([0.0, 1.0, 1.2], draft, 1, 1.0, 2), 0.4, 0),
        (StepCosts([0.0, 1.0, 1.2], draft, 1, 1.0, 2, return_seconds=0.4), 0.0, 0),
    ):
        candidate = Candidate("model", [0.5], catch_up)
        assert best_length(candidate, costs)[0] == length
        assert best_lengths([candidate], costs)[0] == [length]


def test_tokens_that_hardly_ever_come_are_not_looked_at() -> None:
    costs = StepCosts([0.0, *[1.0] * 20], [], 1, 1.0, 17)
    candidate = Candidate("ngram", [0.5, SMALL / 2, SMALL / 2])
    assert best_length(candidate, costs)[0] == 1
    assert best_lengths([candidate, NOTHING], StepCosts([0.0, *[1.0] * 20], [], 2, 1.0, 18))[0] == [1, 0]


def test_of_two_drafters_the_one_that_brings_more_is_worth_more() -> None:
    costs = StepCosts([0.0, 1.0, 1.2], [0.0, 0.3], 1, 1.0, 2)
    free, paid = Candidate("ngram", [0.5, 0.4]), Candidate("model", [0.5, 0.4])
    assert worth(free, costs, 1) == pytest.approx(0.9)
    assert worth(paid, costs, 1) == pytest.approx(0.3)
    assert worth(Candidate("model", [0.9, 0.8]), costs, 1) > worth(free, costs, 1)
    assert worth(NOTHING, costs, 1) == 0.0


def test_perfect_drafts_gain_what_the_curve_allows() -> None:
    curve = MACHINES["2 cores Q8_0"].target
    verify = CostModel.from_measurements(curve).target.table(20)
    costs = StepCosts(verify, [0.0, verify[1]], 1, verify[1], 17)
    assert perfect_gain(costs, 1, 15, uses_model=False) == pytest.approx(16 / 5.7)
    assert perfect_gain(costs, 1, 15, uses_model=True) == 1.0, "a draft as dear as the target never wins"
    steep = [5.0 * n for n in range(21)]
    assert perfect_gain(StepCosts(steep, [], 1, steep[1], 17), 1, 15, uses_model=False) == pytest.approx(1.0)


def test_in_a_batch_one_that_drafts_may_win_where_all_together_cannot() -> None:
    verify = [0.0, 1.0, 1.0, 1.0, 1.0, 1.0, 9.0, 9.0, 9.0, 9.0]
    costs = StepCosts(verify, [], 4, verify[4], 9)
    assert perfect_gain(costs, 4, 1, uses_model=False) == pytest.approx(5 / 4)
