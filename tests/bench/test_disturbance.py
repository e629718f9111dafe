"""Processes that take the cores, but only while a text is past its half."""

from __future__ import annotations

import time

import psutil
import pytest

from exsa_lab.bench.disturbance import Disturbance
from exsa_lab.bench.turns import Turns
from exsa_lab.engine.loop import Loop
from exsa_lab.testing import ScriptedModel, markov, scripted_engine

pytestmark = pytest.mark.skipif(psutil.WINDOWS, reason="tells stopped processes by their status")


def become(processes: list[psutil.Process], *, stopped: bool) -> bool:
    """Whether all of them are stopped or running in the end: a signal takes effect a moment later."""
    deadline = time.monotonic() + 60
    while any((process.status() == psutil.STATUS_STOPPED) != stopped for process in processes):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True


def children() -> list[psutil.Process]:
    return psutil.Process().children()


def test_the_cores_are_taken_from_the_given_token_on_and_left_at_the_end() -> None:
    before = set(children())
    taken: list[tuple[int, bool]] = []
    model = ScriptedModel(list("abcdefgh"), markov(8, seed=1))
    with scripted_engine(model) as one, scripted_engine(model) as other:
        with Disturbance(2, from_token=5) as disturbance:
            mine = [child for child in children() if child not in before]
            assert len(mine) == 2

            def follow(loop: Loop) -> None:
                disturbance.follow(loop)
                taken.extend((sequence.num_generated, disturbance.is_on) for sequence in loop.sequences)

            turns = Turns(one, other, before_step=follow)
            turns.run(
                lambda: [one.submit("ab", max_tokens=9, draft_length=0)],
                lambda: [other.submit("ab", max_tokens=9, draft_length=0)],
            )
            assert become(mine, stopped=False)
            disturbance.switch(is_on=False)
            assert become(mine, stopped=True)
        assert not any(process.is_running() for process in mine)
    assert {number for number, _ in taken} == set(range(9))
    assert all(is_on == (number >= 5) for number, is_on in taken)
