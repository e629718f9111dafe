"""Two engines that take turns: nobody waits for ever, and each has its own time."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from functools import partial
from types import SimpleNamespace

import pytest

from exsa_lab.bench.turns import STEPS, Turns
from exsa_lab.engine.engine import Engine
from exsa_lab.testing import Entry, ScriptedModel, markov, scripted_engine

LETTERS = list("abcdefgh")


def model() -> ScriptedModel:
    return ScriptedModel(LETTERS, markov(8, seed=1))


def before_decodes(engine: Engine, act: Callable[[list[Entry]], None]) -> None:
    engine.call(lambda loop: setattr(loop.context, "before_decode", act))


@pytest.mark.parametrize("lengths", [(40, 40), (40, 7), (7, 40)])
def test_turns_go_back_and_forth_until_both_are_done(lengths: tuple[int, int]) -> None:
    order: list[str] = []

    def note(name: str, _: list[Entry]) -> None:
        order.append(name)

    with scripted_engine(model()) as one, scripted_engine(model()) as other:
        turns = Turns(one, other)
        for name, engine in (("one", one), ("other", other)):
            before_decodes(engine, partial(note, name))
        for _ in range(2):
            order.clear()
            speeds = turns.run(
                lambda: [one.submit("abc", max_tokens=lengths[0], draft_length=0)],
                lambda: [other.submit("abc", max_tokens=lengths[1], draft_length=0) for _ in range(2)],
            )
            assert all(speed > 0 for speed in speeds)
            runs = [(name, len(list(group))) for name, group in itertools.groupby(order)]
            both = 2 * (min(lengths) // STEPS)
            assert len(runs) >= both
            assert all(length == STEPS for _, length in runs[: both - 1])


@pytest.mark.parametrize(("with_prompts", "prompt_factor"), [(True, 1), (False, 1), (False, 100)])
def test_each_engine_has_its_own_time(monkeypatch: pytest.MonkeyPatch, with_prompts: bool, prompt_factor: int) -> None:
    clock = [0.0]
    monkeypatch.setattr("exsa_lab.bench.turns.time", SimpleNamespace(perf_counter=lambda: clock[0]))

    def pass_time(seconds: float, entries: list[Entry]) -> None:
        clock[0] += seconds * (prompt_factor if len(entries) > 1 else 1)

    with scripted_engine(model()) as one, scripted_engine(model()) as other:
        before_decodes(one, partial(pass_time, 0.125))
        before_decodes(other, partial(pass_time, 2.0))
        turns = Turns(one, other, with_prompts=with_prompts)
        for _ in range(2):
            fast, slow = turns.run(
                lambda: [one.submit("abc", max_tokens=10, draft_length=0)],
                lambda: [other.submit("abc", max_tokens=10, draft_length=0)],
            )
            assert (fast, slow) == (8.0, 0.5)


def test_a_single_token_has_no_speed_of_decoding() -> None:
    with scripted_engine(model()) as one, scripted_engine(model()) as other:
        turns = Turns(one, other, with_prompts=False)
        speeds = turns.run(
            lambda: [one.submit("abc", max_tokens=1, draft_length=0)],
            lambda: [other.submit("abc", max_tokens=2, draft_length=0)],
        )
        assert speeds[0] == 0.0 < speeds[1]
