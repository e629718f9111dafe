"""Try many settings and keep what came of each: a grid, or Optuna's choice, resumable in one file.

Every trial is an experiment (`exsa_lab.experiments`) on the same prompts. Trials are kept by Optuna, whose storage is
one SQLite file: a sweep that was interrupted goes on where it stopped.
"""

from __future__ import annotations

import itertools
import json
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import fields
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from exsa_lab import files
from exsa_lab.config import as_list, did_you_mean, whole
from exsa_lab.engine.engine import Engine
from exsa_lab.errors import ConfigError, how_to_install, shown
from exsa_lab.experiments import METRICS, Experiment, Setting, run_experiment
from exsa_lab.files import locked
from exsa_lab.trial_owner import OWNER, begin, end, is_alive, is_of, owner_of

if TYPE_CHECKING:
    import optuna
    import pandas as pd

    from exsa_lab.plots.figure import Figure

Space = Mapping[str, Sequence[Any]]
"""By the name of a `Setting`'s field: a list of values to choose from, or a tuple (low, high) to choose between."""

_MINIMISED = frozenset({"ttft_s", "failed"})
MIN_TRIALS_BEFORE_PRUNING = 5


class Sweep:
    """What came of the settings that were tried, each once: what a difference is worth, repeats say.

    ``frame`` has one row a trial: what was set, what was measured, and its state. ``best`` is the best `Setting`.
    """

    def __init__(self, study: optuna.Study, metrics: Sequence[str], base: Setting) -> None:
        self.study = study
        self.metrics = tuple(metrics)
        self._base = base

    def __repr__(self) -> str:
        states = [trial.state.name for trial in self.study.trials]
        return f"<Sweep {self.study.study_name}: {states.count('COMPLETE')} complete, {states.count('PRUNED')} pruned>"

    @property
    def frame(self) -> pd.DataFrame:
        """Every trial as a row, those that failed too."""
        import pandas as pd

        rows = [
            {"trial": trial.number, "state": trial.state.name.lower(), **trial.params, **_told(trial)}
            for trial in self.study.trials
        ]
        return pd.DataFrame(rows)

    @property
    def best(self) -> Setting:
        """The setting with the best first metric; raises ConfigError where no trial was completed."""
        done = [trial for trial in self.study.trials if trial.state.name == "COMPLETE"]
        if not done:
            raise ConfigError("no trial was completed.", hint="Look at .frame for what went wrong.")
        sign = -1 if self.metrics[0] in _MINIMISED else 1
        best = max(done, key=lambda trial: sign * trial.values[0])
        return _with(self._base, best.params)

    def pareto(self) -> Figure:
        """Draw the first two metrics of all trials, and those no other trial beats in both."""
        from exsa_lab.plots.pareto import pareto

        if len(self.metrics) < 2:
            raise ConfigError("this sweep has one metric.", hint='Sweep with metrics=("tokens_per_second", "ttft_s").')
        frame = self.frame
        done = frame[frame["state"] == "complete"] if len(frame) else frame
        return pareto(done.to_dict("records"), *self.metrics[:2], names=tuple(self.study.user_attrs["names"]))


def _told(trial: Any) -> dict[str, Any]:
    return {name: value for name, value in trial.user_attrs.items() if name != OWNER}


def sweep(
    space: Space,
    prompts: Sequence[str],
    *,
    engine: Engine | None = None,
    trials: int | None = None,
    metrics: str | Sequence[str] = ("tokens_per_second", "ttft_s"),
    base: Setting | None = None,
    storage: str | Path | None = None,
    name: str = "sweep",
    prune: bool = True,
    seed: int = 0,
    progress: bool = True,
    client: Any = None,
    load: Mapping[str, Any] | None = None,
    open_engine: Callable[[], Engine] | None = None,
) -> Sweep:
    """Run the prompts with many settings and return what each gave.

    ``space`` says what to vary: ``{"draft_length": [0, 2, 4], "temperature": (0.0, 1.0)}``; all else is as in ``base``.
    Without ``trials`` every combination of the lists is run (a grid). With it, Optuna chooses so many settings, those
    that look promising first. ``metrics`` are names of `exsa_lab.experiments.METRICS`; with a single one, and
    ``prune``, trials that fall behind the median of those before are given up early.

    ``storage`` is a SQLite file that keeps the trials: the same call again runs only what is missing, and in two
    kernels at once each runs a part. With ``client`` (a ``dask.distributed.Client``) the trials run on its workers, one
    at a time in each process, on an engine loaded there once with ``exsa_lab.load(**load)`` or ``open_engine()``.

    A setting that fails on a worker has its reason in ``frame["error"]``; this call does not try it again, the next one
    does. An interrupt is raised on; finished trials stay in the storage. Raises ConfigError where the space, the
    metrics or the file do not fit.

    Example::

        result = xl.sweep({"draft_length": [0, 1, 2, 4], "drafter": ["model", "ngram"]}, prompts, storage="sweep.db")
        result.best, result.frame, result.pareto()
    """
    base = base or Setting()
    names = [metrics] if isinstance(metrics, str) else as_list("metrics", metrics, of="names")
    prompts = as_list("prompts", prompts)
    trials = None if trials is None else whole("trials", trials, 1, 1 << 20)
    space = _own_space(space, base, is_grid=trials is None)
    _check_metrics(names)
    path = None if storage is None else files.expand(storage).absolute()
    with _our_errors(path), locked(path) if path is not None else nullcontext():
        study = _open_study(space, names, path, name, seed=seed, prune=prune and client is None)
    call = uuid.uuid4().hex
    asked = _ask(study, space, trials, path, call)
    total = _count(space) if trials is None else trials
    show = _Progress(total, len(_finished(study)), enabled=progress)
    begin(call)
    try:
        if client is not None:
            from exsa_lab.cluster import Opener, run_trials

            opener = Opener.of(load, open_engine)
            run_trials(client, asked, prompts, partial(_with, base), partial(_tell, study, names), show, opener)
        else:
            if engine is None:
                from exsa_lab.loading import get_engine

                engine = get_engine()
            for trial in asked:
                _run_trial(engine, study, trial, prompts, _with(base, trial.params), names)
                show()
    finally:
        end(call)
        show.close()
    return Sweep(study, names, base)


# One trial


def _run_trial(
    engine: Engine, study: optuna.Study, trial: optuna.Trial, prompts: Sequence[str], setting: Setting, names: list[str]
) -> None:
    """Run the prompts in portions, so that a trial that falls behind can be given up between them."""
    import optuna

    total = Experiment(setting, tuple(prompts))
    try:
        portions = _portions(prompts, setting.concurrency) if len(names) == 1 else [prompts]
        for step, portion in enumerate(portions):
            part = run_experiment(engine, portion, setting)
            total.generations += part.generations
            total.seconds += part.seconds
            if len(names) == 1:
                trial.report(total.summary()[names[0]], step)
                if trial.should_prune():
                    _tell(study, names, trial, total.summary(), optuna.trial.TrialState.PRUNED)
                    return
    except BaseException:
        study.tell(trial, state=optuna.trial.TrialState.FAIL)
        raise
    _tell(study, names, trial, total.summary())


def _portions(prompts: Sequence[str], size: int) -> Iterator[Sequence[str]]:
    for first in range(0, len(prompts), size):
        yield prompts[first : first + size]


def _tell(
    study: optuna.Study, names: list[str], trial: optuna.Trial, summary: dict[str, float] | str, state: Any = None
) -> None:
    """Record a trial's summary, or as text why there is none."""
    import optuna

    if isinstance(summary, str):
        trial.set_user_attr("error", summary)
        study.tell(trial, state=optuna.trial.TrialState.FAIL)
        return
    for metric, value in summary.items():
        trial.set_user_attr(metric, value)
    if state is not None:
        study.tell(trial, state=state)
    else:
        study.tell(trial, [summary[metric] for metric in names])


def _with(base: Setting, params: Mapping[str, Any]) -> Setting:
    values = {item.name: getattr(base, item.name) for item in fields(base)}
    return Setting(**values | dict(params))


# Which settings


def _own_space(space: object, base: Setting, *, is_grid: bool) -> Space:
    """Return what is varied as Python's own values; raises ConfigError for what cannot be."""
    known = [item.name for item in fields(Setting) if item.name != "seeds"]
    if not isinstance(space, Mapping) or not space:
        raise ConfigError("the space is empty.", hint=f"Vary at least one of {', '.join(known)}.")
    own: dict[str, Sequence[Any]] = {}
    for name, values in space.items():
        if name not in known:
            near = did_you_mean(str(name), known)
            raise ConfigError(f"{shown(name)} cannot be varied.", hint=f"Known: {', '.join(known)}.{near}")
        is_range = isinstance(values, tuple)
        listed = [] if isinstance(values, str | bytes | Mapping) or not isinstance(values, Iterable) else list(values)
        if not listed:
            raise ConfigError(f"{name} is {shown(values)}.", hint="Give a list of values, or a tuple (low, high).")
        if is_range and (is_grid or len(listed) != 2):
            raise ConfigError(
                f"{name} is {shown(values)}.", hint="A tuple (low, high) needs trials=; a grid needs a list."
            )
        checked = [getattr(_with(base, {name: value}), name) for value in listed]  # raises where one is out of range
        own[name] = tuple(checked) if is_range else checked
    return own


def _check_metrics(names: list[str]) -> None:
    for metric in names:
        if metric not in METRICS:
            hint = f"Known: {', '.join(METRICS)}.{did_you_mean(str(metric), METRICS)}"
            raise ConfigError(f"unknown metric {shown(metric)}.", hint=hint)


def _count(space: Space) -> int:
    return len(list(_grid(space)))


def _grid(space: Space) -> Iterator[dict[str, Any]]:
    for values in itertools.product(*space.values()):
        yield dict(zip(space, values, strict=True))


def _ask(study: optuna.Study, space: Space, trials: int | None, path: Path | None, call: str) -> Iterator[optuna.Trial]:
    """Trials that are still to be run, one at a time: the grid's, or as many as are missing."""
    distributions = {name: _distribution(values) for name, values in space.items()}
    while True:
        with _our_errors(path), locked(path) if path is not None else nullcontext():
            taken = _taken(study, call)
            if trials is None:
                done = {_key(trial.params) for trial in taken}
                point = next((point for point in _grid(space) if _key(point) not in done), None)
                if point is None:
                    return
                study.enqueue_trial(point)
            elif len(taken) >= trials:
                return
            trial = study.ask(distributions)
            trial.set_user_attr(OWNER, owner_of(call))
        yield trial


def _taken(study: optuna.Study, call: str) -> list[Any]:
    """Trials that are finished, that failed in this call, or that a living process runs; those of a dead one fail."""
    import optuna

    taken = []
    for trial in study.trials:
        is_over = trial.state.name in ("COMPLETE", "PRUNED")
        if is_over or (trial.state.name == "FAIL" and is_of(trial.user_attrs.get(OWNER), call)):
            taken.append(trial)
        elif trial.state.name == "RUNNING":
            if is_alive(trial.user_attrs.get(OWNER)):
                taken.append(trial)
            else:
                study.tell(trial.number, state=optuna.trial.TrialState.FAIL)
    return taken


@contextmanager
def _our_errors(path: Path | None) -> Iterator[None]:
    """Say in one sentence what is wrong with the file."""
    try:
        if path is not None and not path.parent.is_dir():
            raise FileNotFoundError("there is no such folder")
        yield
    except Exception as cause:
        if not isinstance(cause, OSError) and type(cause).__module__.partition(".")[0] not in ("sqlalchemy", "optuna"):
            raise
        reason = shown(str(cause.__cause__ or cause))[1:-1].rstrip(".")
        raise ConfigError(
            f"{path} cannot keep the sweep: {reason}.", hint="Choose another file for storage=."
        ) from cause


def _distribution(values: Sequence[Any]) -> Any:
    from optuna import distributions as d

    if isinstance(values, tuple):
        low, high = values
        whole = isinstance(low, int) and isinstance(high, int)
        return d.IntDistribution(low, high) if whole else d.FloatDistribution(float(low), float(high))
    return d.CategoricalDistribution(list(values))


def _key(params: Mapping[str, Any]) -> str:
    return json.dumps(params, sort_keys=True)


def _finished(study: optuna.Study) -> list[Any]:
    return [trial for trial in study.trials if trial.state.name in ("COMPLETE", "PRUNED")]


# The storage


def _open_study(
    space: Space, names: list[str], path: Path | None, name: str, *, seed: int, prune: bool
) -> optuna.Study:
    try:
        import optuna
    except ImportError as cause:
        raise ConfigError("sweeps need Optuna.", hint=how_to_install("optuna")) from cause
    optuna.logging.set_verbosity(optuna.logging.ERROR)  # a file that fails is told by our own error
    pruner: Any = optuna.pruners.NopPruner()
    if prune and len(names) == 1:
        pruner = optuna.pruners.MedianPruner(n_startup_trials=MIN_TRIALS_BEFORE_PRUNING, n_warmup_steps=1)
    study = optuna.create_study(
        storage=_storage(path),
        study_name=name,
        directions=["minimize" if metric in _MINIMISED else "maximize" for metric in names],
        sampler=optuna.samplers.TPESampler(seed=seed),
        pruner=pruner,
        load_if_exists=True,
    )
    description = {"space": {key: list(values) for key, values in space.items()}, "metrics": names}
    stored = study.user_attrs.get("sweep")
    if stored is not None and stored != json.loads(json.dumps(description)):
        raise ConfigError(
            f"{path} holds another sweep under the name {shown(name)}.", hint="Choose another name= or another file."
        )
    study.set_user_attr("sweep", description)
    study.set_user_attr("names", list(space))
    return study


def _storage(path: Path | None) -> Any:
    """Optuna's own in memory, or one SQLite file, which waits while another kernel writes to it."""
    import optuna
    from sqlalchemy.pool import NullPool  # Optuna's own dependency

    if path is None:
        return None
    # Without a pool, which nobody would close: a connection lasts as long as what it is for.
    settings = {"connect_args": {"timeout": 60}, "poolclass": NullPool}
    return optuna.storages.RDBStorage(f"sqlite:///{path}", engine_kwargs=settings)


class _Progress:
    """A bar of finished trials."""

    def __init__(self, total: int, done: int, *, enabled: bool) -> None:
        from tqdm.auto import tqdm

        self._bar = tqdm(total=total, initial=done, unit="trial", disable=not enabled)

    def __call__(self) -> None:
        self._bar.update()

    def close(self) -> None:
        self._bar.close()


__all__ = ["Space", "Sweep", "sweep"]
