"""Prefill beside decode, on simulated machines: readers wait within bounds, and prompts get on."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from exsa_lab.costs.model import CostModel
from exsa_lab.costs.prefill_budget import DECODE_STRETCH, UNMEASURED_TOKENS, PrefillBudget

MOST = 512
Machine = Callable[[int, int, int], float]
"""Seconds of a step, by decoding sequences, prefill tokens and prompt tokens computed before."""


def small_on_cpu(decoding: int, prefill: int, computed: int) -> float:
    """Every token costs, and attention to what is there soon costs more than the weights."""
    return 0.003 * (decoding + prefill * (1 + computed / 10_000)) + 0.004


def large_on_cpu(decoding: int, prefill: int, computed: int) -> float:
    return 0.05 * (decoding + prefill * (1 + computed / 1_000_000))


def on_gpu(decoding: int, prefill: int, computed: int) -> float:
    """Nothing below some hundred tokens is felt."""
    return 0.0012 + max(0, decoding + prefill - 300) * 1e-5


def prefill_a_prompt(machine: Machine, budget: PrefillBudget, decoding: int, length: int = 4000) -> list[float]:
    """Seconds of each step that a prompt of this length takes part in, after some that only decode."""
    for _ in range(8):
        budget.observe(decoding, 0, machine(decoding, 0, 0))
    computed, seconds = 0, []
    while computed < length:
        tokens = min(budget.tokens(decoding), length - computed)
        seconds.append(machine(decoding, tokens, computed))
        budget.observe(decoding, tokens, seconds[-1])
        computed += tokens
    return seconds


@pytest.mark.parametrize("machine", [small_on_cpu, large_on_cpu, on_gpu])
@pytest.mark.parametrize("decoding", [1, 7, 16])
@pytest.mark.parametrize("measured", [False, True])
def test_readers_wait_at_most_a_little_over_the_stretch(machine: Machine, decoding: int, measured: bool) -> None:
    costs = CostModel.from_measurements({n: machine(0, n, 0) for n in (1, 2, 4, 8, 16, 32, 64)}) if measured else None
    seconds = prefill_a_prompt(machine, PrefillBudget(costs, most=MOST), decoding, length=20_000)

    alone = machine(decoding, 0, 0)
    late = seconds[len(seconds) // 4 :]
    assert sum(s > 1.15 * DECODE_STRETCH * alone for s in late) <= len(late) // 20
    # and nothing is left on the table: the step is filled as far as the stretch or the step's own budget allows.
    filled = machine(decoding, MOST, 0) < DECODE_STRETCH * alone
    # (Of whole tokens: one more would have been too many.)
    assert filled or sum(s > 0.7 * DECODE_STRETCH * alone for s in seconds) > len(seconds) // 2


def test_a_wrong_measurement_is_put_right() -> None:
    """Costs measured while another program held the cores."""
    wrong = CostModel.from_measurements({1: 0.03, 2: 0.1, 4: 0.2, 8: 0.13, 16: 0.12, 64: 0.48})
    seconds = prefill_a_prompt(large_on_cpu, PrefillBudget(wrong, most=MOST), 4, length=2000)

    assert max(seconds[10:]) <= 1.1 * DECODE_STRETCH * large_on_cpu(4, 0, 0)


def test_a_prompt_gets_on_where_its_own_attention_is_all_there_is_time_for() -> None:
    def endless(decoding: int, prefill: int, computed: int) -> float:
        return 0.003 + 0.001 * prefill * (1 + computed / 100)

    budget = PrefillBudget(None, most=MOST)
    prefill_a_prompt(endless, budget, 2)

    assert budget.tokens(2) == 1


def test_one_slow_step_is_soon_forgotten() -> None:
    budget = PrefillBudget(None, most=MOST)
    prefill_a_prompt(large_on_cpu, budget, 7, length=500)
    before = budget.tokens(7)

    budget.observe(7, before, 100 * large_on_cpu(7, before, 500))
    for _ in range(10):
        budget.observe(7, budget.tokens(7), large_on_cpu(7, budget.tokens(7), 500))

    assert abs(budget.tokens(7) - before) <= 2


def test_before_anything_is_known() -> None:
    assert PrefillBudget(None, most=MOST).tokens(3) == UNMEASURED_TOKENS
    assert PrefillBudget(None, most=8).tokens(3) == 8


def test_never_more_than_the_budget_of_a_step() -> None:
    budget = PrefillBudget(None, most=16)
    budget.observe(2, 0, 1.0)
    budget.observe(2, 16, 1.0)

    assert budget.tokens(2) == 16


def test_the_users_own_number_stands() -> None:
    budget = PrefillBudget(None, most=MOST, fixed=5)
    budget.observe(2, 0, 1.0)
    budget.observe(2, 5, 1.0)

    assert budget.tokens(2) == 5


@pytest.mark.parametrize("machine", [small_on_cpu, large_on_cpu])
def test_where_more_wait_than_decode_the_steps_are_as_many_times_longer(machine: Machine) -> None:
    budget = PrefillBudget(None, most=MOST)
    prefill_a_prompt(machine, budget, 2, length=500)

    alone = machine(2, 0, 0)
    assert budget.tokens(2, 1) == budget.tokens(2, 2) == budget.tokens(2)
    added = machine(2, budget.tokens(2, 14), 0) - alone
    assert 0.8 * 7 * (DECODE_STRETCH - 1) * alone < added < 1.2 * 7 * (DECODE_STRETCH - 1) * alone
    assert budget.tokens(2, 10_000) == MOST
