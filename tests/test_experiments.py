"""A setting runs on every prompt with every seed, never more at once than asked for, and can be stopped."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from exsa_lab.engine.engine import Engine
from exsa_lab.errors import ConfigError
from exsa_lab.events import State
from exsa_lab.experiments import METRICS, Experiment, Setting, run_experiment
from exsa_lab.testing import ScriptedModel, markov, scripted_engine
from tests.gate import Gate, until

PIECES = [chr(ord("a") + i) for i in range(12)]
SETTING: dict[str, Any] = {"max_tokens": 12, "chat": False}


@pytest.fixture
def engine() -> Iterator[Engine]:
    target = ScriptedModel(PIECES, markov(12, 1))
    with scripted_engine(target, ScriptedModel(PIECES, markov(12, 1, sharpness=1)), n_seq_max=8) as engine:
        yield engine


def test_every_prompt_runs_with_every_seed(engine: Engine) -> None:
    setting = Setting(**SETTING, temperature=0.8, seeds=(1, 2), draft_length=2, concurrency=3)
    experiment = run_experiment(engine, ["a", "b", "c"], setting)

    ran = [(gen.prompt, gen.params.seed) for gen in experiment.generations]
    assert ran == [(prompt, seed) for seed in (1, 2) for prompt in "abc"]
    assert {gen.state for gen in experiment.generations} == {State.FINISHED}
    summary = experiment.summary()
    assert set(summary) == set(METRICS)
    assert summary["tokens"] == 6 * 12
    assert 0 < summary["acceptance_rate"] <= 1
    assert summary["tokens_per_round"] > 1
    assert not experiment.was_stopped


@pytest.mark.parametrize("concurrency", [1, 3])
def test_no_more_at_once_than_asked_for(engine: Engine, concurrency: int) -> None:
    gate = Gate(engine, at=1)

    def let_begin_together() -> None:
        with gate:
            until(lambda: len(engine.active) == concurrency)

    opener = threading.Thread(target=let_begin_together)
    opener.start()
    run_experiment(engine, ["a"] * 7, Setting(**SETTING, concurrency=concurrency))
    opener.join()
    assert max(step.slots_used + step.waiting for step in engine.steps) == concurrency


def test_updates_come_from_the_caller_s_thread(engine: Engine) -> None:
    threads: set[int] = set()
    seen: list[int] = []

    def on_update(experiment: Experiment) -> None:
        threads.add(threading.get_ident())
        seen.append(len(experiment.generations))

    run_experiment(engine, ["a", "b"], Setting(**SETTING), on_update=on_update, update_s=0.001)
    assert threads == {threading.get_ident()}
    assert seen[-1] == 2


def test_stopping_cancels_what_runs_and_starts_no_more() -> None:
    with scripted_engine(ScriptedModel(PIECES, markov(12, 1), step_s=0.002)) as engine:
        stop = threading.Event()
        setting = Setting(max_tokens=1000, chat=False, concurrency=2, draft_length=0)

        def stop_soon(experiment: Experiment) -> None:
            if any(gen.tokens for gen in experiment.generations):
                stop.set()

        experiment = run_experiment(engine, ["a"] * 5, setting, on_update=stop_soon, stop=stop, update_s=0.01)
        assert experiment.was_stopped
        assert [gen.state for gen in experiment.generations] == [State.CANCELLED] * 2
        assert engine.status().slots_used == 0


def test_an_error_on_the_way_leaves_nothing_running() -> None:
    with scripted_engine(ScriptedModel(PIECES, markov(12, 1), step_s=0.002)) as engine:

        def fail(experiment: Experiment) -> None:
            if any(gen.tokens for gen in experiment.generations) and not engine.generations[0].state.is_final:
                raise KeyboardInterrupt

        setting = Setting(max_tokens=2000, chat=False, draft_length=0)
        with pytest.raises(KeyboardInterrupt):
            run_experiment(engine, ["a"], setting, on_update=fail, update_s=0.01)
        assert engine.generations[0].state is State.CANCELLED


def test_failures_are_counted(engine: Engine) -> None:
    experiment = run_experiment(engine, ["a", "no such piece!"], Setting(**SETTING))
    assert experiment.summary()["failed"] == 1


def test_wrong_settings_are_refused_with_advice() -> None:
    for wrong in ({"temperature": -1.0}, {"concurrency": 0}, {"seeds": ()}, {"draft_length": 99}, {"drafter": "x"}):
        with pytest.raises(ConfigError):
            Setting(**wrong)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="unknown setting 'temprature'"):
        Setting.from_kwargs(temprature=1)


@pytest.mark.parametrize(
    ("concurrency", "seeds", "how"),
    [(1, (5,), "engine.generate("), (2, (5,), "engine.map("), (2, (5, 6), "run_experiment(")],
    ids=["in turn", "all at once", "more"],
)
def test_python_code_does_what_the_setting_does(
    engine: Engine, concurrency: int, seeds: tuple[int, ...], how: str
) -> None:
    import exsa_lab.loading as loading

    setting = Setting(**SETTING, temperature=0.7, top_p=0.9, seeds=seeds, draft_length=2, concurrency=concurrency)
    assert how in setting.as_python(["a", "b"])
    loading.use(engine)
    try:
        names: dict[str, Any] = {}
        exec(setting.as_python(["a", "b'\"c"[:1]]), names)
    finally:
        loading.unload()
    with scripted_engine(
        ScriptedModel(PIECES, markov(12, 1)), ScriptedModel(PIECES, markov(12, 1, sharpness=1))
    ) as own:
        again = run_experiment(own, ["a", "b"], setting)
    assert [gen.text for gen in names["generations"]] == [gen.text for gen in again.generations]
    assert len(names["generations"]) == 2 * len(seeds)


def test_magic_options_are_understood_by_the_magic() -> None:
    from exsa_lab.magics.arguments import parse
    from exsa_lab.magics.magics import ExsaMagics

    setting = Setting(**SETTING, temperature=0.7, min_p=0.05, seeds=(5,), drafter="ngram", draft_length=4)
    first, prompt = setting.as_magic("Tell me\nmore.").split("\n", 1)
    assert first.startswith("%%exsa ")
    args = vars(parse(ExsaMagics.exsa, first.removeprefix("%%exsa ")))
    assert prompt == "Tell me\nmore."
    assert {name: args[name] for name in setting.changed()} == setting.changed()


def test_greedy_code_has_no_seed() -> None:
    assert "seed" not in Setting(seeds=(3,)).as_magic("x")
    assert Setting(max_tokens=256).as_magic("Hi") == "%%exsa\nHi"


def test_seconds_are_those_of_the_clock(engine: Engine) -> None:
    begin = time.perf_counter()
    experiment = run_experiment(engine, ["a"], Setting(**SETTING))
    assert 0 < experiment.seconds <= time.perf_counter() - begin
