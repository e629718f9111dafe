"""Sweeps try every setting once, keep each trial, go on where they stopped, and give up what falls behind."""

from __future__ import annotations

import itertools
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import exsa_lab.sweeps as sweeps
from exsa_lab.engine.engine import Engine
from exsa_lab.errors import ConfigError
from exsa_lab.experiments import Experiment, Setting, run_experiment
from exsa_lab.plots.pareto import front, pareto
from exsa_lab.sweeps import sweep
from exsa_lab.testing import ScriptedModel, markov, scripted_engine

pytest.importorskip("optuna", reason="sweeps need the sweeps extra")

PIECES = [chr(ord("a") + i) for i in range(12)]
BASE = Setting(max_tokens=8, chat=False, drafter="model")
GRID = {"draft_length": [0, 2, 4], "temperature": [0.0, 0.9]}


@pytest.fixture(scope="module")
def engine() -> Iterator[Engine]:
    target = ScriptedModel(PIECES, markov(12, 1))
    with scripted_engine(target, ScriptedModel(PIECES, markov(12, 1, sharpness=1)), n_seq_max=4) as engine:
        yield engine


def _sweep(engine: Engine, space: dict[str, Any], prompts: list[str], **options: Any) -> sweeps.Sweep:
    return sweep(space, prompts, **{"engine": engine, "base": BASE, "progress": False, **options})


def test_a_grid_tries_every_combination_once(engine: Engine) -> None:
    result = _sweep(engine, GRID, ["a", "b"])
    tried = [tuple(row) for row in result.frame[["draft_length", "temperature"]].itertuples(index=False)]
    assert sorted(tried) == sorted(itertools.product(*GRID.values()))
    assert set(result.frame["state"]) == {"complete"}
    assert (result.frame["tokens"] == 16).all()
    plain = result.frame["draft_length"] == 0
    assert (result.frame[plain]["tokens_per_round"] == 1).all()
    assert (result.frame[~plain]["tokens_per_round"] > 1).all()


def test_the_best_setting_is_that_of_the_first_metric(engine: Engine) -> None:
    result = _sweep(engine, GRID, ["a", "b"], metrics=("tokens_per_round", "ttft_s"))
    row = result.frame.loc[result.frame["tokens_per_round"].idxmax()]
    assert (result.best.draft_length, result.best.temperature) == (row["draft_length"], row["temperature"])
    assert result.best.max_tokens == 8
    figure = result.pareto()
    assert "draft_length" in figure.table_text()


class _Interrupt:
    """Runs experiments and is interrupted in the middle of one."""

    def __init__(self, after: int) -> None:
        self.left = after
        self.ran: list[Setting] = []

    def __call__(self, engine: Engine, prompts: Any, setting: Setting, **options: Any) -> Experiment:
        self.left -= 1
        if self.left < 0:
            raise KeyboardInterrupt
        self.ran.append(setting)
        return run_experiment(engine, prompts, setting, **options)


def test_an_interrupted_grid_goes_on_where_it_stopped(
    engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, rest = _Interrupt(after=4), _Interrupt(after=99)
    storage = tmp_path / "sweep.db"
    monkeypatch.setattr(sweeps, "run_experiment", first)
    with pytest.raises(KeyboardInterrupt):
        _sweep(engine, GRID, ["a"], storage=storage)
    monkeypatch.setattr(sweeps, "run_experiment", rest)

    result = _sweep(engine, GRID, ["a"], storage=storage)

    assert (len(first.ran), len(rest.ran)) == (4, 2)
    assert set(map(str, first.ran)) & set(map(str, rest.ran)) == set()
    done = result.frame[result.frame["state"] == "complete"]
    assert len(done) == len(done[["draft_length", "temperature"]].drop_duplicates()) == 6
    again = _Interrupt(after=0)
    monkeypatch.setattr(sweeps, "run_experiment", again)
    assert len(_sweep(engine, GRID, ["a"], storage=storage).frame) == len(result.frame)


SECOND_KERNEL = """
import sys
from exsa_lab.experiments import Setting
from exsa_lab.sweeps import sweep
from exsa_lab.testing import ScriptedModel, markov, scripted_engine

with scripted_engine(ScriptedModel([chr(97 + i) for i in range(12)], markov(12, 1)), n_seq_max=4) as engine:
    space = {"draft_length": [0, 2, 4], "temperature": [0.0, 0.2, 0.4, 0.6, 0.8, 0.9]}
    base = Setting(max_tokens=8, chat=False, drafter="none")
    sweep(space, ["a"], engine=engine, base=base, storage=sys.argv[1], progress=False)
"""


def test_two_kernels_on_one_file_share_its_trials(tmp_path: Path) -> None:
    storage = tmp_path / "sweep.db"
    command = [sys.executable, "-c", SECOND_KERNEL, str(storage)]
    kernels = [subprocess.Popen(command, stderr=subprocess.PIPE, text=True) for _ in range(2)]
    outputs = [kernel.communicate(timeout=120)[1] for kernel in kernels]
    assert [kernel.returncode for kernel in kernels] == [0, 0], outputs
    import optuna

    study = optuna.load_study(study_name="sweep", storage=sweeps._storage(storage))
    done = [trial for trial in study.trials if trial.state.name == "COMPLETE"]
    assert len(done) == len({str(trial.params) for trial in done}) == 18
    assert len(study.trials) == 18


def test_a_trial_whose_kernel_died_is_run_again(engine: Engine, tmp_path: Path) -> None:
    storage = tmp_path / "sweep.db"
    kernel = subprocess.Popen([sys.executable, "-c", SECOND_KERNEL.replace("sweep(space", "import exsa_lab.sweeps as s, os\n    s._run_trial = lambda *_: os._exit(9)\n    sweep(space"), str(storage)])  # fmt: skip  # noqa: E501
    assert kernel.wait(timeout=120) == 9
    space = {"draft_length": [0, 2, 4], "temperature": [0.0, 0.2, 0.4, 0.6, 0.8, 0.9]}
    result = _sweep(engine, space, ["a"], storage=storage)
    states = list(result.frame["state"])
    assert (states.count("complete"), states.count("fail"), states.count("running")) == (18, 1, 0)


@pytest.mark.parametrize("content", [None, b"this is no database" * 100])
def test_a_file_that_cannot_be_used_is_one_clear_error(engine: Engine, tmp_path: Path, content: bytes | None) -> None:
    storage = tmp_path / "no" / "sweep.db" if content is None else tmp_path / "sweep.db"
    if content is not None:
        storage.write_bytes(content)
    with pytest.raises(ConfigError, match="cannot"):
        _sweep(engine, {"draft_length": [0]}, ["a"], storage=storage)


def test_a_lone_text_is_no_list_of_prompts(engine: Engine) -> None:
    with pytest.raises(ConfigError, match="prompts"):
        _sweep(engine, {"draft_length": [0]}, "abc")  # type: ignore[arg-type]


def test_a_file_with_another_sweep_is_refused(engine: Engine, tmp_path: Path) -> None:
    storage = tmp_path / "sweep.db"
    _sweep(engine, {"draft_length": [0]}, ["a"], storage=storage)
    with pytest.raises(ConfigError, match="another sweep"):
        _sweep(engine, {"draft_length": [0, 1]}, ["a"], storage=storage)
    assert len(_sweep(engine, {"draft_length": [0, 1]}, ["a"], storage=storage, name="second").frame) == 2


def test_optuna_chooses_within_the_ranges(engine: Engine) -> None:
    space = {"draft_length": (0, 6), "temperature": (0.1, 0.9), "top_k": [0, 5]}
    result = _sweep(engine, space, ["a"], trials=8, metrics="tokens_per_round")
    frame = result.frame
    assert len(frame) == 8
    assert frame["draft_length"].between(0, 6).all()
    assert frame["temperature"].between(0.1, 0.9).all()
    assert set(frame["top_k"]) <= {0, 5}
    same = _sweep(engine, space, ["a"], trials=8, metrics="tokens_per_round")
    assert frame["draft_length"].tolist() == same.frame["draft_length"].tolist()


def test_what_falls_behind_is_given_up(engine: Engine) -> None:
    space = {"draft_length": [4, 4 - 1, 5, 6, 7, 0]}  # the last one is far worse, and comes after enough others
    result = _sweep(engine, space, list("abcdef"), metrics="tokens_per_round")
    states = dict(zip(result.frame["draft_length"], result.frame["state"], strict=True))
    assert states[0] == "pruned"
    assert result.best.draft_length != 0
    unpruned = _sweep(engine, space, list("abcdef"), metrics="tokens_per_round", prune=False)
    assert set(unpruned.frame["state"]) == {"complete"}


def test_mistakes_are_told_before_anything_runs(engine: Engine) -> None:
    for space, options, message in (
        ({}, {}, "empty"),
        ({"draft_lenght": [1]}, {}, "Did you mean 'draft_length'"),
        ({"draft_length": [99]}, {}, "draft_length is 99"),
        ({"draft_length": (0, 4)}, {}, "needs trials"),
        ({"draft_length": 3}, {}, "list of values"),
        ({"seeds": [1]}, {}, "cannot be varied"),
        ({"draft_length": [1]}, {"metrics": "speed"}, "unknown metric"),
    ):
        with pytest.raises(ConfigError, match=message):
            _sweep(engine, space, ["a"], **options)
    with pytest.raises(ConfigError, match="one metric"):
        _sweep(engine, {"draft_length": [1]}, ["a"], metrics="tokens").pareto()


def test_a_space_of_numpys_numbers(engine: Engine, tmp_path: Path) -> None:
    import optuna

    space = {"draft_length": np.arange(2), "temperature": (t for t in (np.float32(0.5),))}
    result = _sweep(engine, space, ["a"], storage=tmp_path / "sweep.db")
    assert list(result.frame["draft_length"]) == [0, 1]
    same = {"draft_length": range(2), "temperature": [0.5]}
    assert len(_sweep(engine, same, ["a"], storage=tmp_path / "sweep.db").frame) == 2
    chosen = _sweep(engine, {"draft_length": (np.int64(0), np.int64(3))}, ["a"], trials=1)
    assert isinstance(chosen.study.trials[0].distributions["draft_length"], optuna.distributions.IntDistribution)
    for wrong in (3, None, "draft_length", [("draft_length", [1])]):
        with pytest.raises(ConfigError, match="space"):
            _sweep(engine, wrong, ["a"])  # type: ignore[arg-type]


def test_the_front_is_what_nothing_beats() -> None:
    points = [(1.0, 5.0), (2.0, 4.0), (0.0, 4.0), (2.0, 3.0), (3.0, 1.0)]
    assert front(points, minimise=(False, False)) == [0, 1, 4]
    assert front(points, minimise=(True, True)) == [2, 3, 4]
    for i, j in itertools.permutations(front(points, minimise=(False, True)), 2):
        assert not (points[i][0] >= points[j][0] and points[i][1] <= points[j][1])


def test_the_pareto_plot_joins_the_front() -> None:
    rows = [{"k": i, "tokens_per_second": x, "ttft_s": y} for i, (x, y) in enumerate([(10, 0.5), (20, 0.9), (9, 0.8)])]
    figure = pareto(rows, "tokens_per_second", "ttft_s", names=("k",))
    beaten, kept = figure.data
    assert list(beaten.x) == [9]
    assert list(kept.x) == [10, 20]
