"""The prompts of `bench rerun`, and a run of it on scripted contenders."""

from __future__ import annotations

import argparse
from typing import Any

import pytest

from exsa_lab.bench import rerun
from exsa_lab.bench.rerun import AGAIN, KINDS, MOST_REPEATS, NUM_PROMPTS, ROWS
from exsa_lab.bench.setting import Options
from exsa_lab.errors import ConfigError


@pytest.mark.parametrize("kind", KINDS)
def test_no_round_repeats_the_texts_of_another(kind: str) -> None:
    rounds = [KINDS[kind](number, NUM_PROMPTS) for number in range(1 + MOST_REPEATS)]
    measured = [prompt for one in rounds for prompt in one.measured]
    assert len(measured) == len(set(measured))
    assert len(rounds[0].measured) == (ROWS if "rows" in kind else 2 if "quoted" in kind else NUM_PROMPTS)
    assert KINDS[kind](1, NUM_PROMPTS) == rounds[1]


def test_more_rounds_than_there_are_texts_for_are_refused() -> None:
    with pytest.raises(ConfigError, match="3 rounds, not for 4"):
        rerun.check(Options(repeats=1 + MOST_REPEATS))
    rerun.check(Options(repeats=MOST_REPEATS))


def test_the_same_cell_and_a_changed_word() -> None:
    again, changed = KINDS[AGAIN](0, 3), KINDS["a word changed"](0, 3)
    assert again.before == again.measured
    assert len(set(changed.before) & set(changed.measured)) == 0
    for before, after in zip(changed.before, changed.measured, strict=True):
        assert sum(one != other for one, other in zip(before.split(), after.split(), strict=True)) == 1


class Scripted:
    """A contender of a given speed, which notes what it was asked."""

    def __init__(self, speed: float, *, is_peer: bool = False) -> None:
        self.speed, self.is_peer, self.can_batch = speed, is_peer, False
        self.asked: list[tuple[str, ...]] = []

    def in_turn(self, prompts: tuple[str, ...], max_tokens: int, temperature: float, seed: int) -> float:
        self.asked.append(prompts)
        return self.speed


def test_every_contender_sees_the_same_and_the_checks_compare(monkeypatch: pytest.MonkeyPatch) -> None:
    contenders: dict[str, Any] = {
        rerun.PLAIN: Scripted(10),
        rerun.AUTO: Scripted(25),
        "peer": Scripted(30, is_peer=True),
    }
    monkeypatch.setattr(rerun, "subjects", lambda options: [argparse.Namespace(name="tiny")])
    monkeypatch.setattr(rerun, "_contenders", lambda subject, stack, given: contenders)
    parser = argparse.ArgumentParser()
    rerun.add_arguments(parser)
    only = rerun.run(Options(repeats=2, given=parser.parse_args(["--only", AGAIN])))
    assert list(only.values) == [f"tiny, {AGAIN}"]
    for contender in contenders.values():
        contender.asked.clear()
    report = rerun.run(Options(repeats=2, given=parser.parse_args(["--tokens", "8"])))
    assert len(report.tables) == len(KINDS)
    assert sorted(contenders[rerun.PLAIN].asked) == sorted(contenders["peer"].asked)
    by_name = {check.name: check for check in report.checks}
    assert by_name[f"tiny, {AGAIN}: auto / plain"].is_met
    assert not by_name[f"tiny, {AGAIN}: auto / peer"].is_met
    assert by_name[f"tiny, {AGAIN}: auto / plain"].wanted == rerun.WANTED_AGAIN["cpu"]
