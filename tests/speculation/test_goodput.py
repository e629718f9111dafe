"""The search for the best draft lengths, against trying everything."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from exsa_lab.config import DrafterName
from exsa_lab.costs.model import CostModel
from exsa_lab.speculation.goodput import FREE, NOTHING, PLAIN, SMALL, Candidate, Mode, StepCosts, best_lengths

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
    return expected / (costs.target[sum(lengths)] + seconds)


def all_lengths(candidates: list[Candidate], costs: StepCosts) -> list[tuple[int, ...]]:
    ranges = [range(len(candidate.survival) + 1) for candidate in candidates]
    return [lengths for lengths in itertools.product(*ranges) if sum(lengths) < len(costs.target)]


def best_of_all(candidates: list[Candidate], costs: StepCosts) -> float:
    return max(goodput(candidates, costs, lengths) for lengths in all_lengths(candidates, costs))


def make_costs(
    table: list[float], draft: list[float], num: int, *, extra: int = 0, room: int = 99, back: float = 0.0
) -> StepCosts:
    """``table`` begins with one token; ``extra`` tokens of others share the step."""
    plain, *more = table[num + extra - 1 :][: room + 1]
    return StepCosts(plain, [plain, *(seconds + back for seconds in more)], draft)


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
    costs = make_costs(table, [0.0] * 4, len(drafts), extra=extra, room=room, back=back)
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
        (length,), rate = best_lengths([candidate], costs)
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
@example([[0.5], [0.5, 0.5]], ["ngram", "model", "model"], [0.0, 0.1, 0.0])
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
    plain = num / costs.plain
    assert rate >= plain
    assert rate > plain or not any(lengths)


def test_the_search_looks_over_a_jump() -> None:
    verify = CostModel.from_measurements(JUMPY).target.table(20)
    costs = StepCosts(verify[1], verify[1:18], [0.0, 0.0])
    candidate = Candidate("ngram", [0.99**j for j in range(1, 17)])
    assert best_lengths([candidate], costs)[0] == [7]  # not 1, where the jump begins


def test_catching_up_counts() -> None:
    for catch_up, length in ((0.0, 1), (0.4, 0)):
        candidate = Candidate("model", [0.5], catch_up)
        assert best_lengths([candidate], StepCosts(1.0, [1.0, 1.2], [0.0, 0.05]))[0] == [length]


def test_tokens_that_hardly_ever_come_are_not_looked_at() -> None:
    costs = StepCosts(1.0, [1.0] * 17, [0.0, 0.0, 0.0])
    candidate = Candidate("ngram", [0.5, SMALL / 2, SMALL / 2])
    assert best_lengths([candidate], costs)[0] == [1]
    assert best_lengths([candidate, NOTHING], costs)[0] == [1, 0]


def test_of_two_drafters_the_one_that_brings_more_is_worth_more() -> None:
    free, paid = Candidate("ngram", [0.5, 0.4]), Candidate("model", [0.5, 0.4])
    assert free.worth(0.3) == pytest.approx(0.9)
    assert paid.worth(0.3) == pytest.approx(0.3)
    assert Candidate("model", [0.9, 0.8]).worth(0.3) > free.worth(0.3)
    assert NOTHING.worth(0.3) == 0.0


# Modes

STEPS = StepCosts(1.0, [1.0 + 0.05 * n for n in range(65)], [0.0, 0.2, 0.21, 0.22, 0.23])
COPIED, GUESSED = Candidate("ngram", [0.9**n for n in range(1, 8)]), Candidate("model", [0.5**n for n in range(1, 8)])


def test_where_shapes_are_free_a_step_costs_what_is_drafted() -> None:
    assert STEPS.in_mode(FREE, 2) == STEPS


def test_a_plain_step_has_room_for_nothing() -> None:
    costs = STEPS.in_mode(PLAIN, 2)
    assert costs.target == [STEPS.plain]
    assert best_lengths([NOTHING, NOTHING], costs) == ([0, 0], 2 / STEPS.plain)


@pytest.mark.parametrize("num", [1, 2])
def test_where_nothing_can_be_drafted_a_step_costs_what_its_width_does(num: int) -> None:
    costs = STEPS.in_mode(Mode("ngram", 7), num)
    assert best_lengths([NOTHING] * num, costs) == ([0] * num, num / STEPS.target[7 * num])


@pytest.mark.parametrize("num", [1, 2])
def test_a_width_that_is_paid_for_is_filled_with_whatever_is_looked_up(num: int) -> None:
    lengths, rate = best_lengths([COPIED] * num, STEPS.in_mode(Mode("ngram", 7), num))
    assert lengths == [7] * num
    assert rate == pytest.approx(num * (1 + sum(COPIED.survival)) / STEPS.target[7 * num])


def test_a_lone_draft_of_the_model_ends_where_its_decodes_no_longer_pay() -> None:
    (length,), rate = best_lengths([GUESSED], costs := STEPS.in_mode(Mode("auto", 7), 1))
    rates = [goodput([GUESSED], costs, (k,)) for k in range(8)]
    assert 0 < length < 7
    assert rate == pytest.approx(max(rates)) == pytest.approx(rates[length])


def test_a_batch_of_the_model_goes_in_lockstep() -> None:
    lengths, rate = best_lengths([GUESSED] * 2, STEPS.in_mode(Mode("model", 7), 2))
    assert lengths == [7, 7]
    assert rate == pytest.approx(2 * (1 + sum(GUESSED.survival)) / (STEPS.target[14] + 7 * STEPS.draft[2]))
