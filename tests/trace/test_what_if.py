"""The formula with knobs is the one that the doctor and the plots use, and prices batches as the engine does."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exsa_lab.costs.model import CostModel
from exsa_lab.trace.break_even import break_even_acceptance, expected_tokens, round_cost, speed_up
from exsa_lab.trace.what_if import WhatIf, draft_start, own_draft_cost
from tests.speculation.simulator import MACHINES, texts

NAMES = st.sampled_from(sorted(MACHINES))


def costs_of(name: str) -> CostModel:
    machine = MACHINES[name]
    return CostModel.from_measurements(
        machine.target,
        machine.draft,
        seconds_per_sequence=machine.per_sequence,
        switch_seconds={"target": machine.switch[0], "draft": machine.switch[1] or 0.8 * machine.draft[1]},
    )


@given(NAMES, st.floats(0, 1), st.integers(0, 16))
def test_one_sequence_at_the_measured_draft_cost_is_the_known_formula(name: str, acceptance: float, k: int) -> None:
    costs = costs_of(name)
    setting = WhatIf(costs, acceptance, k)
    assert setting.speed_up == pytest.approx(speed_up(costs, k, acceptance))
    assert setting.round_cost == pytest.approx(round_cost(costs, k))
    assert setting.break_even == pytest.approx(break_even_acceptance(costs, k), abs=1e-9)


@given(NAMES, st.floats(0, 1), st.integers(0, 16))
def test_a_free_draft_is_a_looked_up_one(name: str, acceptance: float, k: int) -> None:
    costs = costs_of(name)
    setting = WhatIf(costs, acceptance, k, draft_cost=0.0)
    assert setting.speed_up == pytest.approx(speed_up(costs, k, acceptance, uses_model=False))


@given(NAMES, st.floats(0, 1), st.integers(1, 16), st.sampled_from([1, 2, 4, 8, 16]))
def test_the_best_length_is_beaten_by_none(name: str, acceptance: float, k: int, sequences: int) -> None:
    setting = WhatIf(costs_of(name), acceptance, k, num_sequences=sequences)
    best = replace(setting, draft_length=setting.best_length)
    assert best.speed_up >= setting.speed_up
    assert best.speed_up >= 1.0


def test_a_batch_is_one_decode_of_all_tokens() -> None:
    costs = CostModel.from_measurements({1: 0.01, 4: 0.02, 16: 0.05}, {1: 0.001, 4: 0.002}, seconds_per_sequence=0.0005)
    setting = WhatIf(costs, 0.5, 3, num_sequences=4)
    assert setting.plain_seconds == pytest.approx(0.02 + 3 * 0.0005)
    assert setting.verify_seconds == pytest.approx(0.05 + 3 * 0.0005)
    assert setting.draft_seconds == pytest.approx(3 * 0.002)


def test_without_a_draft_model_drafts_are_free() -> None:
    costs = CostModel.from_measurements({1: 0.01, 4: 0.02})
    assert own_draft_cost(costs) == 0.0
    assert WhatIf(costs, 0.5, 3).draft_seconds == 0.0


def _walk(is_right: tuple[bool, ...], k: int) -> tuple[int, int, int, int]:
    """Tokens, rounds, tested and accepted draft tokens of a recorded text with drafts of k."""
    place, rounds, tested, accepted = 1, 0, 0, 0
    while place < len(is_right):
        most = min(k, len(is_right) - place - 1)
        run = next((n for n in range(most) if not is_right[place + n]), most)
        tested, accepted, rounds = tested + min(run + 1, most), accepted + run, rounds + 1
        place += run + 1
    return len(is_right) - 1, rounds, tested, accepted


@pytest.mark.parametrize("kind", ["chat", "code"])
@pytest.mark.parametrize("first", [0, 4])
def test_one_acceptance_rate_tells_the_tokens_per_round_of_real_texts(kind: str, first: int) -> None:
    group = [text.is_right for text in texts(kind)[first : first + 4]]
    seen = [_walk(is_right, 4) for is_right in group]
    acceptance = sum(one[3] for one in seen) / sum(one[2] for one in seen)
    for k in range(1, 9):
        runs = [_walk(is_right, k) for is_right in group]
        per_round = sum(run[0] for run in runs) / sum(run[1] for run in runs)
        assert expected_tokens(acceptance, k) == pytest.approx(per_round, rel=0.06)


def test_the_first_decode_of_a_draft_takes_longer_where_shapes_are_free() -> None:
    curves = ({1: 0.01, 4: 0.02}, {1: 0.001})
    costs = CostModel.from_measurements(*curves, switch_seconds={"target": 0.0005, "draft": 0.0015})
    assert draft_start(costs) == pytest.approx(1.5)
    assert WhatIf(costs, 0.5, 3).draft_seconds == pytest.approx(0.0045)
    assert WhatIf(costs, 0.5, 3, draft_cost=0.0).draft_seconds == 0.0
    assert WhatIf(costs, 0.5, 0).draft_seconds == 0.0
    assert round_cost(costs, 3) == pytest.approx((0.02 + 0.0045) / 0.01)
    graphs = CostModel.from_measurements(*curves, switch_seconds={"target": 0.02, "draft": 0.0015})
    assert draft_start(graphs) == 0.0
