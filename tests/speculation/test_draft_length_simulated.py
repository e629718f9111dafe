"""The policy over recorded texts, against plain decoding and against the best fixed setting.

Time is simulated, so these tests are exact and say nothing about the machine they run on. The whole comparison is
printed by ``python -m tests.speculation.comparison``.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import cache

import numpy as np
import pytest

from exsa_lab.costs.model import CostModel
from exsa_lab.events import DraftReason
from exsa_lab.speculation.draft_length import DraftLengthPolicy
from tests.speculation.comparison import Cell, compare, geometric_mean
from tests.speculation.simulator import (
    KINDS,
    MACHINES,
    PLAIN,
    Automatic,
    Clock,
    Drafted,
    State,
    Text,
    automatic,
    believed,
    run,
    texts,
    waves,
)

NAMES = ("2 cores Q4_1", "2 cores Q8_0", "16 cores", "H100", "H100 x10")


@cache
def cell(machine: str, kind: str, num: int) -> Cell:
    return compare(machine, kind, num)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(("num", "least"), [(1, 0.97), (4, 0.93)])
def test_no_kind_of_text_is_slower_than_plain(name: str, num: int, least: float) -> None:
    found = {kind: cell(name, kind, num).of_plain for kind in KINDS}
    assert min(found.values()) >= least, found


def test_on_average_it_is_as_fast_as_the_best_fixed_setting_of_each_kind() -> None:
    """Which a user would have to know beforehand, for each machine and text."""
    cells = [cell(name, kind, num) for name in NAMES for kind in KINDS for num in (1, 4)]
    assert geometric_mean([each.of_best for each in cells]) >= 0.99


class Adversary(Automatic):
    """Whatever is drafted is refused; what is only probed is right."""

    def _draft(self, states, plan):  # type: ignore[no-untyped-def]  # as the base
        for state in states:
            state.text = _judged(
                state.text, is_right=any(choice.reason is DraftReason.PROBING for choice in plan.choices)
            )
        drafts, confidences, peeks = super()._draft(states, plan)
        return [Drafted(each.drafter, each.length, each.decodes) for each in drafts], confidences, peeks


@cache
def _judged(text: Text, *, is_right: bool) -> Text:
    same = (is_right,) * text.num_tokens
    copied = text.proposed if is_right else (0,) * text.num_tokens
    learned = tuple(tuple((match, True) for match, _ in some) for some in text.learned)
    return replace(text, is_right=same, copied=copied, confidence=(0.99,) * text.num_tokens, learned=learned)


@pytest.mark.parametrize("name", ["2 cores Q8_0", "16 cores", "H100"])
def test_an_adversary_that_refuses_whatever_is_drafted_costs_next_to_nothing(name: str) -> None:
    """Over an engine's first 3000 tokens; the allowance is spent once."""
    batches = [[text] for _ in range(3) for kind in ("chat", "repeat") for text in texts(kind)]
    machine = MACHINES[name]
    auto = Adversary(machine)
    seconds = run(machine, batches, auto.step, begin=auto.begin, after_prompt=auto.after_prompt)
    assert run(machine, batches, PLAIN) / seconds >= 0.97


@pytest.mark.parametrize("name", ["2 cores Q8_0", "H100"])
@pytest.mark.parametrize("kind", ["chat", "repeat"])
def test_noise_and_spikes_do_not_mislead(name: str, kind: str) -> None:
    machine, batches = replace(MACHINES[name], noise=0.1, spikes=0.02), waves(kind, 1)
    assert run(machine, batches, PLAIN) / automatic(machine, batches, seed=2) >= 0.97


@pytest.mark.parametrize("name", ["2 cores Q8_0", "H100"])
@pytest.mark.parametrize("factor", [0.7, 1.4])
@pytest.mark.parametrize("point", [1, 2, 4, 8])
def test_a_wrong_calibration_does_not_make_it_slower_than_plain(name: str, factor: float, point: int) -> None:
    machine = MACHINES[name]
    right = believed(machine)
    assert right.draft is not None
    points = {n: seconds * (factor if n == point else 1.0) for n, seconds in right.target.points.items()}
    for kind in ("chat", "repeat"):
        told = CostModel.from_measurements(points, right.draft.points, switch_seconds=right.switch_seconds)
        policy = DraftLengthPolicy(told, has_draft=True)
        assert run(machine, waves(kind, 1), PLAIN) / automatic(machine, waves(kind, 1), policy=policy) >= 0.95


class Loaded(Clock):
    """From halfway another program takes most of the machine."""

    def observed(self, seconds: float) -> float:
        return super().observed(seconds * (2.5 if self.seconds > self.half else 1.0))

    half = 0.0


@pytest.mark.parametrize("name", ["2 cores Q8_0", "H100"])
@pytest.mark.parametrize("kind", ["chat", "repeat"])
def test_a_load_from_halfway_does_not_make_it_slower_than_plain(name: str, kind: str) -> None:
    machine, batches = MACHINES[name], waves(kind, 1)
    plain, auto = run(machine, batches, PLAIN), Automatic(machine)
    clock = Loaded(machine, np.random.default_rng(0))
    clock.half = plain / 4
    for states in _begun(batches, auto, clock):
        clock.seconds += auto.step(clock, states)
    assert plain / clock.seconds >= 0.97


@pytest.mark.parametrize(("name", "times"), [("H100", 2), ("H100 x4", 4)])
def test_texts_written_again_are_looked_up_although_drafting_lost_before(name: str, times: float) -> None:
    """The draft model takes so many times what was calibrated, and spends the balance before that is learned."""
    dear, gains, num = MACHINES[name].with_dear_draft(times), [], 4
    for seed in range(3):
        auto = Automatic(dear, policy=DraftLengthPolicy(believed(dear, seed), has_draft=True))
        clock = Clock(dear, np.random.default_rng(seed))
        for kind in ("chat", "again", "code", "again"):
            before = clock.seconds
            for states in _begun(waves(kind, num), auto, clock):
                clock.seconds += auto.step(clock, states)
            if kind == "again":
                gains.append(run(dear, waves(kind, num), PLAIN) / (clock.seconds - before))
    assert min(gains) >= 2.5, gains


def _begun(batches: list[list[Text]], auto: Automatic, clock: Clock) -> Iterator[list[State]]:
    """The states of each step, in turn."""
    for batch in batches:
        states = [State(text) for text in batch]
        for state in states:
            auto.begin(state)
        clock.new_shape()
        auto.after_prompt()
        while running := [state for state in states if state.left > 0]:
            yield running


@pytest.mark.parametrize("name", ["2 cores Q8_0", "H100"])
def test_every_choice_has_a_reason(name: str) -> None:
    machine, batches = MACHINES[name], waves("edit", 1)
    auto = Automatic(machine)
    run(machine, batches, auto.step, begin=auto.begin, after_prompt=auto.after_prompt)
    assert set(auto.reasons) <= set(DraftReason)
    assert auto.reasons[DraftReason.MEASURED_GAIN] > 0  # type: ignore[index]
