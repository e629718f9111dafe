"""What drafting can gain, in numbers and in a sentence."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exsa_lab.costs.model import CostModel
from exsa_lab.trace.break_even import (
    best_case_speedup,
    break_even_acceptance,
    expected_tokens,
    speed_up,
    verdict_sentence,
)
from tests.speculation.simulator import MACHINES

Q8_0, IQ4_NL, H100 = (MACHINES[name] for name in ("2 cores Q8_0", "2 cores IQ4_NL", "H100"))
STEEP = {1: 0.005, 64: 0.32}


@settings(deadline=None)
@given(st.floats(0, 1), st.integers(0, 16))
def test_expected_tokens_is_the_geometric_sum(acceptance: float, k: int) -> None:
    value = expected_tokens(acceptance, k)
    assert 1 <= value <= k + 1
    if acceptance < 0.99:
        assert value == pytest.approx((1 - acceptance ** (k + 1)) / (1 - acceptance))


@pytest.mark.parametrize("name", MACHINES)
@pytest.mark.parametrize("k", [1, 2, 3, 4, 5, 6, 7, 8])
def test_at_break_even_drafting_is_as_fast_as_plain(name: str, k: int) -> None:
    costs = CostModel.from_measurements(MACHINES[name].target, MACHINES[name].draft)
    needed = break_even_acceptance(costs, k)
    if needed is None:
        assert best_case_speedup(costs, k) < 1
    else:
        assert speed_up(costs, k, needed) == pytest.approx(1.0, abs=1e-6)
        assert best_case_speedup(costs, k) >= 1


def test_break_even_of_a_free_draft_is_lower() -> None:
    costs = CostModel.from_measurements(Q8_0.target, Q8_0.draft)
    with_model, free = break_even_acceptance(costs, 7), break_even_acceptance(costs, 7, uses_model=False)
    assert with_model is not None
    assert free is not None
    assert free < with_model


@pytest.mark.parametrize(
    ("target", "draft", "sentence"),
    [
        (
            Q8_0.target,
            Q8_0.draft,
            "On this machine a draft model cannot pay for chat: verifying 4 tokens costs 2.7 single steps. "
            "Copying text can: up to 2.8x.",
        ),
        (
            H100.target,
            H100.draft,
            "On this machine a draft model can pay for chat: verifying 4 tokens costs 1.3 single steps, so 2 draft "
            "tokens give 1.1x where 60% are accepted. Copying text can pay more: up to 5.7x.",
        ),
        (
            STEEP,
            Q8_0.draft,
            "On this machine a draft model cannot pay for chat: verifying 4 tokens costs 4.0 single steps. "
            "Copying text cannot either.",
        ),
        (
            IQ4_NL.target,
            None,
            "No draft model is loaded; verifying 4 tokens costs 2.5 single steps. Copying text can pay: up to 2.7x.",
        ),
        (
            STEEP,
            None,
            "On this machine drafting cannot pay: verifying 4 tokens costs 4.0 single steps.",
        ),
    ],
)
def test_the_verdict_is_one_plain_sentence(
    target: dict[int, float], draft: dict[int, float] | None, sentence: str
) -> None:
    assert verdict_sentence(CostModel.from_measurements(target, draft)) == sentence
