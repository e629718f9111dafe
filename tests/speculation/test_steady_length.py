"""The policy for a device on which a change of the batch's shape is dear, over whole texts and step by step.

Time is simulated: costs are those of one H100, see `simulator.GRAPHS`.
"""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from exsa_lab.config import DrafterName
from exsa_lab.costs.model import CostModel
from exsa_lab.events import DraftReason
from exsa_lab.speculation.draft_length import DraftLengthPolicy, DraftRequest, Outcome, Take
from exsa_lab.speculation.steady_length import SteadyPolicy, policy_for
from exsa_lab.speculation.steady_plan import MODEL_LENGTHS, SteadyPlan
from tests.engine import simulator
from tests.speculation.simulator import (
    COPY_TEXTS,
    MODEL_TEXTS,
    TOKENS,
    Machine,
    Simulation,
    Texts,
    plain_seconds,
    steady,
)

TEXTS: dict[str, Texts] = {**MODEL_TEXTS, **COPY_TEXTS, "67 % right": lambda rng, n: steady(rng, n, 0.67)}


def compare(texts: Texts, drafter: DrafterName = "auto", num_sequences: int = 1) -> tuple[float, float]:
    """Speed of the policy against plain decoding, and against the best fixed drafter and length."""
    tokens = TOKENS if num_sequences == 1 else TOKENS // 2
    return simulator.compare(
        Machine.with_graphs, texts, drafter, allowed=drafter, num_sequences=num_sequences, tokens=tokens
    )


@pytest.mark.parametrize("drafter", ["model", "ngram", "auto"])
@pytest.mark.parametrize("texts", TEXTS)
def test_one_sequence(texts: str, drafter: DrafterName) -> None:
    """The first text of an engine: what it may cost to find out is at most its first credit, 60 ms of 1.4 s."""
    plain, best = compare(TEXTS[texts], drafter)
    assert plain >= 0.94
    assert best >= 0.91


def requests_in_turn(texts: Texts) -> float:
    """Speed against plain decoding of requests of a hundred tokens, once an engine has served some like them."""
    simulation = Simulation(Machine.with_graphs())
    plain = seconds = 0.0
    for seed in range(24):
        text = texts(np.random.default_rng(seed), 100)
        before = simulation.result.seconds
        simulation.policy.interrupt()
        simulation.machine.shapes.clear()
        simulation.run([text])
        if seed >= 8:
            seconds += simulation.result.seconds - before
            plain += plain_seconds(Machine.with_graphs(), [text])
    return plain / seconds


@pytest.mark.parametrize("texts", TEXTS)
def test_requests_in_turn_are_not_slower_than_plain(texts: str) -> None:
    assert requests_in_turn(TEXTS[texts]) >= 0.97


def test_requests_in_turn_begin_with_what_won_before() -> None:
    assert requests_in_turn(TEXTS["67 % right"]) >= 1.05
    assert requests_in_turn(TEXTS["80 % right"]) >= 1.25
    assert requests_in_turn(TEXTS["all copied"]) >= 2.5


@pytest.mark.parametrize("texts", ["never right", "30 % right", "80 % right", "all copied", "half copied"])
def test_eight_sequences(texts: str) -> None:
    plain, best = compare(TEXTS[texts], num_sequences=8)
    assert plain >= 0.98
    assert best >= 0.92


def test_eight_sequences_find_a_draft_that_is_nearly_always_right() -> None:
    plain, _ = compare(TEXTS["98 % right"], "model", num_sequences=8)
    assert plain >= 1.2


def test_short_generations_one_after_the_other_pay_for_learning_once() -> None:
    simulation = Simulation(Machine.with_graphs())
    texts = [steady(np.random.default_rng(seed), 100, 0.2) for seed in range(20)]
    for text in texts:
        simulation.run([text])
    plain = sum(plain_seconds(Machine.with_graphs(), [text]) for text in texts)
    assert plain / simulation.result.seconds >= 0.97


def test_an_adversary_that_refuses_whatever_is_drafted_is_bounded_by_the_account() -> None:
    """Right while it is only probed, wrong as soon as it is verified."""

    class Adversary(Simulation):
        def _draft(self, states, plan):  # type: ignore[no-untyped-def]  # as the base
            for state in states:
                for place in range(state.done, min(state.done + 17, len(state.text.tokens))):
                    state.text.is_right[place] = not plan.width
            return super()._draft(states, plan)

    text = steady(np.random.default_rng(0), 3000, 1.0)
    plain = plain_seconds(Machine.with_graphs(), [text])
    assert plain / Adversary(Machine.with_graphs()).run([text], drafter="model").seconds >= 0.97


# Step by step


def steady_policy() -> SteadyPolicy:
    policy = policy_for(Machine.with_graphs().believed, has_draft=True)
    assert isinstance(policy, SteadyPolicy)
    return policy


def test_the_measured_price_decides_which_policy_it_is() -> None:
    for price, is_steady in ((0.0, False), (0.0001, False), (0.0038, True)):
        costs = CostModel.from_measurements({1: 0.00116, 8: 0.002}, {1: 0.0003}, switch_seconds={"target": price})
        policy = policy_for(costs, has_draft=True)
        assert isinstance(policy, SteadyPolicy) == is_steady
        assert isinstance(policy, DraftLengthPolicy)


def test_the_width_stays_while_nothing_else_changes() -> None:
    """Right two times in three: one length is found and kept, whatever single rounds bring."""
    policy, rng = steady_policy(), np.random.default_rng(0)
    request = DraftRequest(policy.new_history(), "model")
    widths = []
    for _ in range(300):
        plan = policy.choose([request])
        widths.append(plan.width)
        right = rng.random(plan.width) < 0.67
        accepted = plan.width if right.all() else int(right.argmin())
        policy.observe(plan, [Outcome(accepted, plan.width, (0.7,) * plan.width)])
    changes = sum(a != b for a, b in itertools.pairwise(widths))
    assert changes <= 6
    assert set(widths[100:]) <= {1, 2, 3, 4}


def test_confidence_ends_no_draft_early() -> None:
    policy = steady_policy()
    request = DraftRequest(policy.new_history(), "model")
    for _ in range(24):
        policy.estimate.observe_model(request.history, [0.8] * 8, 8)
    plan = policy.choose([request])
    assert plan.width == MODEL_LENGTHS[-1]
    takes = [plan.take(0, 0.01) for _ in range(plan.width)]
    assert takes == [Take.MORE] * (plan.width - 1) + [Take.LAST]


def test_a_draft_near_the_end_of_the_text_is_shorter_than_the_width() -> None:
    policy = steady_policy()
    request = DraftRequest(policy.new_history(), "model", limit=2)
    for _ in range(24):
        policy.estimate.observe_model(request.history, [0.8] * 8, 8)
    plan = policy.choose([request])
    assert plan.choices[0].k == 2
    assert plan.width == MODEL_LENGTHS[-1]


@pytest.mark.parametrize("room", [0, 1, 3, 5, 16, 40])
def test_the_width_fits_the_budget(room: int) -> None:
    policy = steady_policy()
    requests = [DraftRequest(policy.new_history(), "auto", ngram_tokens=16, match_length=40) for _ in range(3)]
    plan = policy.choose(requests, other_tokens=2, other_sequences=1, budget=2 + 3 + room)
    assert 3 * plan.width <= room
    assert (plan.width > 0) == (room >= 9)


def test_probes_do_not_widen_the_batch_and_become_rare() -> None:
    policy = steady_policy()
    request = DraftRequest(policy.new_history(), "model")
    probes = []
    for step in range(4000):
        plan = policy.choose([request])
        assert isinstance(plan, SteadyPlan)
        if plan.choices[0].reason is DraftReason.PROBING:
            assert plan.width == 0
            assert plan.take(0, 0.9) is Take.STOP
            probes.append(step)
            policy.observe(plan, [Outcome(peeked=0.9, peeked_right=False)])
        else:
            policy.observe(plan, [Outcome(0, plan.width, (0.9,) * plan.width)])
    assert 4 <= len(probes) <= 40


def test_in_a_round_the_drafter_that_promises_more_fills_the_width() -> None:
    policy = steady_policy()
    for _ in range(60):
        policy.estimate.observe_model(policy.new_history(), [0.8] * 3, 3)

    def drafter(request: DraftRequest) -> tuple[str, int]:
        plan = policy.choose([request])
        policy.observe(plan, [Outcome(plan.choices[0].k, plan.choices[0].k, (0.8,) * plan.choices[0].k)])
        return plan.choices[0].drafter, plan.width

    history = policy.new_history()
    without_match, width = drafter(DraftRequest(history))
    with_match, same = drafter(DraftRequest(history, ngram_tokens=16, match_length=40))
    assert (without_match, with_match) == ("model", "ngram")
    assert width == same > 0
