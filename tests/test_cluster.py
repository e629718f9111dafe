"""Bulk generation and sweeps over a real local Dask cluster of two worker processes, one of them killed midway."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from exsa_lab.cluster import map as cluster_map
from exsa_lab.engine.engine import Engine
from exsa_lab.errors import ConfigError
from exsa_lab.experiments import Setting
from exsa_lab.sweeps import sweep
from exsa_lab.testing import ScriptedModel, markov, scripted_engine

distributed = pytest.importorskip("distributed", reason="clusters need the sweeps extra")

PIECES = [chr(ord("a") + i) for i in range(12)]
PROMPTS = ["".join(PIECES[(i + j) % 12] for j in range(1 + i % 5)) for i in range(40)]


def open_engine() -> Engine:
    target = ScriptedModel(PIECES, markov(12, 1), step_s=0.002)
    return scripted_engine(target, ScriptedModel(PIECES, markov(12, 1, sharpness=1)), n_seq_max=4)


def _num_engines() -> int:
    from exsa_lab.cluster import _engines

    return len(_engines)


@pytest.fixture(scope="module")
def client() -> Iterator[Any]:
    with (
        distributed.LocalCluster(
            n_workers=2, threads_per_worker=1, processes=True, dashboard_address=":0", protocol="tcp://"
        ) as cluster,
        distributed.Client(cluster) as client,
    ):
        yield client


def _killer(client: Any) -> threading.Thread:
    """Kill a worker as soon as it works on something."""
    pids = client.run(os.getpid)

    def busy() -> list[int]:
        return [pids[name] for name, tasks in client.processing().items() if tasks and name in pids]

    def kill() -> None:
        while not (found := busy()):
            time.sleep(0.005)
        os.kill(found[0], signal.SIGKILL)

    thread = threading.Thread(target=kill, daemon=True)
    thread.start()
    return thread


def test_order_and_texts_are_those_of_one_engine(client: Any) -> None:
    options = {"max_tokens": 12, "chat": False, "temperature": 0.8, "seed": 3, "progress": False}
    traces = cluster_map(PROMPTS, client=client, open_engine=open_engine, chunk=7, **options)
    alone = cluster_map(PROMPTS, open_engine=open_engine, **options)
    assert [trace.prompt for trace in traces] == PROMPTS
    assert [trace.text for trace in traces] == [trace.text for trace in alone]
    assert set(client.run(_num_engines).values()) == {1}


def test_a_killed_worker_loses_nothing(client: Any) -> None:
    options = {"max_tokens": 120, "chat": False, "progress": False}
    killer = _killer(client)
    traces = cluster_map(PROMPTS, client=client, open_engine=open_engine, chunk=4, **options)
    assert not killer.is_alive(), "nobody was killed on the way"
    assert [trace.prompt for trace in traces] == PROMPTS
    assert all(trace.stats["generated_tokens"] == 120 for trace in traces)


def test_a_sweep_with_a_killed_worker_has_every_trial_once(client: Any) -> None:
    space = {"draft_length": [0, 1, 2, 3], "temperature": [0.0, 0.5, 0.9]}
    base = Setting(max_tokens=60, chat=False, drafter="model")
    killer = _killer(client)
    result = sweep(space, PROMPTS[:6], base=base, client=client, open_engine=open_engine, progress=False)
    assert not killer.is_alive(), "nobody was killed on the way"
    frame = result.frame
    assert set(frame["state"]) == {"complete"}
    assert len(frame) == len(frame[["draft_length", "temperature"]].drop_duplicates()) == 12
    assert (frame["tokens"] == 360).all()


def broken_engine() -> Engine:
    raise ConfigError("no such model.")


def test_what_goes_wrong_on_a_worker_is_told(client: Any) -> None:
    with pytest.raises(ConfigError, match="no such model"):
        cluster_map(["a"], client=client, open_engine=broken_engine, progress=False)
    options = {"base": Setting(chat=False), "client": client, "progress": False}
    for trials in (None, 4):  # more of them than workers, each tried once
        space = {"draft_length": [0, 1, 2, 3]}
        result = sweep(space, ["a"], trials=trials, open_engine=broken_engine, **options)
        assert result.frame["state"].tolist() == ["fail"] * 4
        assert all("no such model" in error for error in result.frame["error"])
        with pytest.raises(ConfigError, match="no trial"):
            result.best  # noqa: B018


def test_what_failed_is_tried_again_by_the_next_call(client: Any, tmp_path: Path) -> None:
    options = {"base": Setting(chat=False, max_tokens=4), "client": client, "progress": False}
    space = {"draft_length": [0, 1, 2]}
    for opener, states in [(broken_engine, ["fail"] * 3), (open_engine, ["fail"] * 3 + ["complete"] * 3)]:
        result = sweep(space, ["a"], storage=tmp_path / "sweep.db", open_engine=opener, **options)
        assert result.frame["state"].tolist() == states
