from __future__ import annotations

from exsa_lab.costs.model import CostModel
from exsa_lab.speculation.probing import PLAIN_FIRST, PLAIN_LAST, ModelProbes, PlainSteps


def gaps_of_failing_probes(steps: int) -> list[int]:
    """Steps between probes none of which is right."""
    probes, gaps, since = ModelProbes(), [], 0
    for _ in range(steps):
        probes.count_step()
        since += 1
        if probes.until_next <= 0:
            probes.note_draft()
            probes.note_probe(was_right=False, was_verified=True)
            gaps.append(since)
            since = 0
    return gaps


def test_probes_that_fail_become_rare() -> None:
    gaps = gaps_of_failing_probes(5000)
    assert max(gaps) > 200
    assert len(gaps) < 50


def test_probes_that_go_well_go_on() -> None:
    probes = ModelProbes()
    for _ in range(100):
        probes.count_step()
        assert probes.until_next <= 0
        probes.note_draft()
        probes.note_probe(was_right=True, was_verified=True)


def test_a_rest_ends_by_itself_and_with_a_draft() -> None:
    probes = ModelProbes()
    probes.count_step(rest=3)
    assert probes.is_resting
    for _ in range(3):
        probes.count_step()
    assert not probes.is_resting
    probes.count_step(rest=3)
    probes.note_draft()
    assert not probes.is_resting


def steps_until_plain(plain: PlainSteps) -> int:
    steps = 0
    while not plain.is_due:
        plain.note(is_plain=False)
        steps += 1
    plain.note(is_plain=True)
    return steps


def test_plain_steps_become_rare_while_they_hold_no_surprise() -> None:
    plain = PlainSteps(CostModel.from_measurements({1: 1.0, 4: 2.0}))
    gaps = [steps_until_plain(plain) for _ in range(6)]
    assert gaps[0] == PLAIN_FIRST
    assert gaps[-1] == PLAIN_LAST


def test_a_shift_of_the_costs_makes_the_next_one_due() -> None:
    costs = CostModel.from_measurements({1: 1.0, 4: 2.0})
    plain = PlainSteps(costs)
    for _ in range(6):
        steps_until_plain(plain)
    for _ in range(PLAIN_FIRST):
        plain.note(is_plain=False)
    assert not plain.is_due
    for _ in range(20):
        costs.observe("target", 4, 1, 6.0)
    assert plain.is_due
