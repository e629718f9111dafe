"""Generating over a Dask cluster: one engine in each worker process, loaded once.

Dask runs a task again elsewhere when its worker dies; what counts is recorded here, once for each task, when its result
arrives. So nothing is lost, and nothing is counted twice.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from exsa_lab.config import as_list, whole
from exsa_lab.engine.engine import Engine
from exsa_lab.experiments import Setting, run_experiment
from exsa_lab.trace.trace import Trace

OpenEngine = Callable[[], Engine]

_engines: dict[str, Engine] = {}
# Guards _engines, and keeps measured runs of one worker process apart.
_worker_lock = threading.Lock()


def map(
    prompts: Sequence[str],
    *,
    client: Any = None,
    load: Mapping[str, Any] | None = None,
    open_engine: OpenEngine | None = None,
    chunk: int = 16,
    progress: bool = True,
    **params: Any,
) -> list[Trace]:
    """Generate for many prompts, over a cluster where one is given; returns their traces in the order of the prompts.

    ``client`` is a ``dask.distributed.Client``. Each worker process loads one engine with ``exsa_lab.load(**load)``,
    once, or with ``open_engine()``; prompts are sent ``chunk`` at a time, and batched there. Without a client the
    kernel's own engine does it all.

    A prompt that fails has a trace that ends in a failed state; nothing is raised for it. Raises whatever a worker
    raised when an engine could not be opened.

    Example::

        traces = xl.map(prompts, client=Client("scheduler:8786"), load={"target": "smollm2-135m"}, max_tokens=64)
    """
    prompts = as_list("prompts", prompts)
    if client is None:
        from exsa_lab.loading import get_engine

        engine = open_engine() if open_engine is not None else get_engine()
        return [gen.trace for gen in engine.map(prompts, progress=progress, **params)]
    chunk = whole("chunk", chunk, 1, 1 << 20)
    opener = Opener.of(load, open_engine)
    chunks = [list(prompts[first : first + chunk]) for first in range(0, len(prompts), chunk)]
    futures = [client.submit(_generate, opener, part, params, pure=False) for part in chunks]
    results: dict[int, list[Trace]] = {}
    numbers = {future.key: number for number, future in enumerate(futures)}
    for future in _as_completed(futures, len(chunks), progress):
        results[numbers[future.key]] = future.result()
    return [trace for number in range(len(chunks)) for trace in results[number]]


def run_trials(
    client: Any,
    trials: Iterator[Any],
    prompts: Sequence[str],
    to_setting: Callable[[Mapping[str, Any]], Setting],
    tell: Callable[[Any, dict[str, float] | str], None],
    on_done: Callable[[], None],
    opener: Opener,
) -> None:
    """Run trials on the workers, as many at once as there are, and tell each one's summary when it arrives."""
    from distributed import as_completed

    running: dict[Any, Any] = {}

    def submit(trial: Any) -> Any:
        future = client.submit(_measure, opener, list(prompts), to_setting(trial.params), pure=False)
        running[future] = trial
        return future

    # The range first: zip would otherwise take one trial more than it gives.
    num_workers = max(1, len(client.nthreads()))
    queue = as_completed([submit(trial) for _, trial in zip(range(num_workers), trials, strict=False)])
    try:
        for future in queue:
            trial = running.pop(future)
            try:
                tell(trial, future.result())
            except Exception as error:  # the trial failed, or its worker died again and again
                tell(trial, f"{type(error).__name__}: {error}")
            on_done()
            if (following := next(trials, None)) is not None:
                queue.add(submit(following))
    finally:
        client.cancel(list(running))
        for trial in running.values():
            tell(trial, "interrupted")


def _as_completed(futures: list[Any], total: int, progress: bool) -> Iterator[Any]:
    from distributed import as_completed
    from tqdm.auto import tqdm

    with tqdm(total=total, unit="chunk", disable=not progress) as bar:
        for future in as_completed(futures):
            yield future
            bar.update()


# On the workers


@dataclass(frozen=True, slots=True)
class Opener:
    """How a worker opens its engine, and a key by which it finds it again."""

    open_engine: OpenEngine
    key: str

    @classmethod
    def of(cls, load: Mapping[str, Any] | None, open_engine: OpenEngine | None = None) -> Opener:
        """Open with ``open_engine()``, or with ``exsa_lab.load(**load)``."""
        import cloudpickle

        opener = open_engine or partial(_load, dict(load or {}))
        return cls(opener, hashlib.sha256(cloudpickle.dumps(opener)).hexdigest())

    def engine(self) -> Engine:
        """The worker process's engine, opened by the first task that needs it."""
        engine = _engines.get(self.key)
        if engine is None or str(engine.state) != "open":
            engine = _engines[self.key] = self.open_engine()
        return engine


def _load(arguments: dict[str, Any]) -> Engine:
    from exsa_lab.loading import load

    return load(**arguments)


def _generate(opener: Opener, prompts: list[str], params: dict[str, Any]) -> list[Trace]:
    with _worker_lock:
        engine = opener.engine()
    return [gen.trace for gen in engine.map(prompts, progress=False, **params)]


def _measure(opener: Opener, prompts: list[str], setting: Setting) -> dict[str, float]:
    with _worker_lock:  # two at once would measure each other
        return run_experiment(opener.engine(), prompts, setting).summary()
