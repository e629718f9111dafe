"""The kernel's one engine: load it, find it, unload it."""

from __future__ import annotations

import contextlib
import hashlib
import os
import platform
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, TypeGuard

from exsa_lab import history_file
from exsa_lab.checks import flag
from exsa_lab.config import EngineConfig
from exsa_lab.engine.assembly import Models
from exsa_lab.engine.engine import Engine, EngineState
from exsa_lab.engine.worker.isolated import IsolatedWorker
from exsa_lab.errors import EngineError, EngineNotLoaded, ExsaError, OutOfMemory
from exsa_lab.files import FileIdentity
from exsa_lab.hardware import Hardware, detect
from exsa_lab.models import threads
from exsa_lab.models.conversion import convert
from exsa_lab.models.cost_scaling import scale_cost
from exsa_lab.models.gguf_facts import GGUFFacts, read_facts
from exsa_lab.models.resolve import canonical, resolve, resolve_draft
from exsa_lab.models.trial import try_load
from exsa_lab.models.vocabulary import check_vocabulary
from exsa_lab.planner import Plan, plan, step_down
from exsa_lab.runtime.protocol import ProgressCallback
from exsa_lab.signals import held_interrupts

DEFAULT_TARGET = "smollm2-135m"
APART = "The file is not in the catalog, so the engine runs in a process of its own (isolate=False: in this one)."
Arguments = tuple[str, str | None, tuple[tuple[str, Any], ...]]


@dataclass(frozen=True, slots=True)
class Loaded:
    """The kernel's engine, the arguments it was loaded with, and the plan behind its settings."""

    engine: Engine
    arguments: Arguments | None = None
    plan: Plan | None = None
    files: tuple[tuple[Path, FileIdentity], ...] = ()
    """What the models were loaded from."""

    @property
    def is_current(self) -> bool:
        """Whether its files are still those it was loaded from; one that is gone was not replaced."""
        return all(identity.is_of(path) for path, identity in self.files)


# Held while an engine is loaded or closed, so that there is one at a time; who only asks for it does not wait.
_lock = threading.RLock()
# Written under the lock only; read by anyone, at any time.
_current: Loaded | None = None
_is_loading = False
# Called after `unload`, not where one engine takes the place of another.
_on_unload: list[Callable[[], object]] = []


def _forget_in_fork() -> None:
    """A fork has neither the engine's thread nor whoever held the lock."""
    global _lock, _current, _is_loading
    _lock, _current, _is_loading = threading.RLock(), None, False


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_in_fork)


def load(
    target: str | Path = DEFAULT_TARGET,
    draft: str | Path | None = "auto",
    *,
    weights: str | None = None,
    cost_factor: int = 1,
    trial: bool = False,
    isolate: bool | None = None,
    progress: Callable[[float], None] | None = None,
    **config: Any,
) -> Engine:
    """Return the kernel's engine for these models, loading them if needed.

    ``target`` is a catalog name, a path to a ``.gguf`` file or ``"hf:owner/repo/file.gguf"``; ``draft`` is the
    same, "auto" (the catalog's partner of the target, if it has one) or None. ``weights`` converts the target to
    another weight format first, once (see `exsa_lab.models.conversion`). ``cost_factor`` makes a token of the
    target cost so many times as much, with the same text (see `exsa_lab.models.cost_scaling`). ``trial`` loads both
    files in a child process first, so that a file from an untrusted source that crashes llama.cpp does not end this
    one. ``isolate`` keeps the whole engine in a child process: what crashes there fails the generations it had, and the
    next one starts it again; None does so where a file is not of the catalog. Further keywords are `EngineConfig`
    fields; those not given are planned for this machine (`exsa_lab.planner`). ``progress`` is called with the fraction
    loaded, 0..1.

    The same arguments give the same engine and load nothing; other arguments close the old engine first. Raises
    ModelNotFound, InvalidModel, VocabularyMismatch, ModelLoadError, OutOfMemory or ConfigError; the old engine is
    kept when the new arguments are wrong.
    """
    global _current
    trial, isolate = flag("trial", trial), None if isolate is None else flag("isolate", isolate)
    arguments = (
        canonical(target),
        None if draft is None else canonical(draft),
        tuple(sorted({"weights": weights, "cost_factor": cost_factor, "isolate": isolate, **config}.items())),
    )
    with _lock:
        if _is_loaded(_current, arguments):
            return _current.engine
        with _one_at_a_time():
            files = find_files(target, draft, weights=weights, cost_factor=cost_factor, trial=trial, progress=progress)
            hardware = machine()
            # What cannot work even on an empty machine is refused while the old engine still runs.
            plan(_emptied(hardware), files.target, files.draft, config)
            if _close_current():
                hardware = machine()  # The old engine's memory is free now.
            engine, made = _open(files, config, hardware, progress, isolate=isolate)
            engine.on_each_end(history_file.record)
            _current = Loaded(engine, arguments, made, files.identities)
            return engine


@contextlib.contextmanager
def _one_at_a_time() -> Iterator[None]:
    """The lock does not stop the thread that holds it: from ``progress``, say."""
    global _is_loading
    if _is_loading:
        raise EngineError("an engine is being loaded already.", hint="Do not load another one from progress=.")
    _is_loading = True
    try:
        yield
    finally:
        _is_loading = False


def _is_loaded(loaded: Loaded | None, arguments: Arguments) -> TypeGuard[Loaded]:
    if loaded is None or loaded.arguments != arguments:
        return False
    engine = loaded.engine
    return (engine.state is EngineState.OPEN or (engine.restarts and engine.state is EngineState.FAILED)) and (
        loaded.is_current
    )


def get_plan() -> Plan | None:
    """Return the plan behind the kernel's engine: each setting with its reason; None where it was not planned."""
    current = _current
    return current.plan if current is not None else None


def is_loading() -> bool:
    """Whether an engine is being loaded now; the one before answers until its memory is needed."""
    return _is_loading


def get_name() -> str | None:
    """Return the catalog name that the kernel's engine was asked for by; None for a path, or where there is none."""
    current = _current
    name = current.arguments[0] if current is not None and current.arguments is not None else None
    return None if name is None or Path(name).is_absolute() else name


def on_unload(callback: Callable[[], object]) -> None:
    """Call ``callback()`` whenever the engine was unloaded for good, and not for another one to take its place."""
    _on_unload.append(callback)


def get_engine() -> Engine:
    """Return the kernel's engine; raises EngineNotLoaded when there is none, or when it failed."""
    current = _current
    if current is None or current.engine.state is EngineState.CLOSED:
        raise EngineNotLoaded("no engine is loaded.", hint="Load one with xl.load() or %exsa_load.")
    if current.engine.state is not EngineState.OPEN and not current.engine.restarts:
        raise EngineNotLoaded("the engine that was loaded has failed.", hint="Load one with xl.load() or %exsa_load.")
    return current.engine


def use(engine: Engine) -> Engine:
    """Make this the kernel's engine, closing the one before: for an engine on scripted models, say."""
    global _current
    with _lock:
        _close_current()
        engine.on_each_end(history_file.record)
        _current = Loaded(engine)
        return engine


def unload() -> bool:
    """Close the kernel's engine and free its memory; False when there was none. What served it is closed, too."""
    was_open = _close_current()
    for callback in _on_unload:
        callback()
    return was_open


def _close_current() -> bool:
    global _current
    with _lock:
        if _current is None:
            return False
        with held_interrupts():  # else an engine could be left that nobody can close
            engine, _current = _current.engine, None
            was_open = engine.state is EngineState.OPEN
            engine.close()
        return was_open


@dataclass(frozen=True, slots=True)
class Files:
    """Checked files of a target and its draft."""

    target: GGUFFacts
    draft: GGUFFacts | None
    identities: tuple[tuple[Path, FileIdentity], ...] = ()
    """Of these, and of the file that the target was converted from."""
    are_known: bool = True
    """Whether all of them come from the catalog."""


def find_files(
    target: str | Path,
    draft: str | Path | None,
    *,
    weights: str | None = None,
    cost_factor: int = 1,
    trial: bool = False,
    progress: Callable[[float], None] | None = None,
) -> Files:
    """Find (and where asked, try, convert or scale) the files, and check that they are sound and belong together.

    The draft is the one of the original target, whatever is made from that.
    """
    found = resolve(target)
    partner = resolve_draft(draft, found)
    for model in (found, partner) if trial else ():
        if model is not None:
            try_load(model.path)
    path = convert(found.path, weights, progress=progress) if weights else found.path
    path = scale_cost(path, cost_factor, progress=progress)
    facts, partner_facts = read_facts(path), read_facts(partner.path) if partner else None
    paths = dict.fromkeys([found.path, path, *([partner.path] if partner else [])])
    identities = tuple((path, FileIdentity.of(path)) for path in paths)
    are_known = found.is_known and (partner is None or partner.is_known)
    files = Files(facts, partner_facts, identities, are_known)
    if files.draft is not None:
        check_vocabulary(files.target, files.draft)
    return files


def machine() -> Hardware:
    """Return what this machine has, llama.cpp's devices included."""
    from exsa_lab.runtime.library import build, devices

    return detect(devices, can_offload=build().can_offload)


def _emptied(hardware: Hardware) -> Hardware:
    """The same machine with all of its memory free."""
    gpus = tuple(replace(gpu, free_memory=gpu.total_memory) for gpu in hardware.gpus)
    return replace(hardware, available_memory=hardware.total_memory, gpus=gpus)


def _open(
    files: Files,
    wishes: dict[str, Any],
    hardware: Hardware,
    progress: Callable[[float], None] | None,
    *,
    isolate: bool | None,
) -> tuple[Engine, Plan]:
    """Open an engine by plan; where the estimates were too small, step down until it fits."""
    if "n_threads" not in wishes:
        hardware = _with_measured_threads(hardware, files.target.path, anew=bool(wishes.get("recalibrate")))
    made = plan(hardware, files.target, files.draft, wishes)
    is_apart = not files.are_known if isolate is None else isolate
    notes = (APART,) if is_apart and isolate is None else ()
    while True:
        try:
            opener = _opener(files, made.config, hardware, (*made.warnings, *notes))
            if is_apart:
                return Engine.on(IsolatedWorker(opener, made.config, progress), made.config), made
            return Engine(opener, made.config, progress=progress), made
        except OutOfMemory:
            smaller = step_down(made, hardware, files.target, files.draft, wishes)
            if smaller is None:
                raise
            made = smaller


def _with_measured_threads(hardware: Hardware, target: Path, *, anew: bool) -> Hardware:
    """Measure which number of threads is the fastest, where the machine leaves that open and measuring is cheap."""
    if not threads.is_open(hardware, target.stat().st_size):
        return hardware
    facts = {"target": _fingerprint(target), **_machine_facts(hardware)}
    try:
        measure = partial(threads.measure_threads, target)
        best = threads.best_threads(hardware.thread_counts, facts, measure, anew=anew)
    except ExsaError:
        return hardware  # Loading will say what is wrong.
    return replace(hardware, measured_threads=best)


def prepare(target: str, draft: str | None, config: EngineConfig) -> Callable[[ProgressCallback], Models]:
    """Find and check the files; returns the function that opens them, with exactly these settings."""
    return _opener(find_files(target, draft), config, machine())


def _opener(files: Files, config: EngineConfig, hardware: Hardware, notes: tuple[str, ...] = ()) -> FileOpener:
    if note := files.target.cost_note:
        notes += (f"The target's speed is not that of the original: {note}.",)
    draft = files.draft.path if files.draft else None
    identities = tuple((path, identity) for path, identity in files.identities if path in (files.target.path, draft))
    return FileOpener(files.target.path, draft, config, hardware, notes, identities)


@dataclass(frozen=True, slots=True)
class FileOpener:
    """Opens the models of these files, in this process or in another one."""

    target: Path
    draft: Path | None
    config: EngineConfig
    hardware: Hardware
    notes: tuple[str, ...] = ()
    identities: tuple[tuple[Path, FileIdentity], ...] = ()
    """What the files were when all of this was planned."""

    def __call__(self, progress: ProgressCallback) -> Models:
        from exsa_lab.runtime.model import LlamaModel

        for path, identity in self.identities:
            identity.check(path)
        target, draft, config = self.target, self.draft, self.config
        n_threads = config.n_threads or self.hardware.usable_threads
        cost_facts = _cost_facts(target, draft, config, self.hardware, n_threads)
        share = 0.95 if draft is not None else 1.0
        opened = LlamaModel(target, config, progress=lambda done: progress(share * done))
        if draft is None:
            return Models(opened, None, n_threads, self.notes, cost_facts=cost_facts)
        try:
            settings = replace(config, n_gpu_layers=config.draft_gpu_layers)
            partner = LlamaModel(draft, settings, progress=lambda done: progress(share + (1 - share) * done))
        except BaseException:
            opened.close()
            raise
        return Models(opened, partner, n_threads, self.notes, cost_facts=cost_facts)


def _cost_facts(
    target: Path, draft: Path | None, config: EngineConfig, hardware: Hardware, n_threads: int
) -> dict[str, str | int | None]:
    """Everything the cost of a step depends on."""
    return {
        "target": _fingerprint(target),
        "draft": _fingerprint(draft) if draft else None,
        **_machine_facts(hardware),
        "n_threads": n_threads,
        **{name: getattr(config, name) for name in _COST_SETTINGS},
    }


def _machine_facts(hardware: Hardware) -> dict[str, str]:
    from exsa_lab.runtime.library import build

    made = build()
    return {
        "machine": f"{platform.machine()} {hardware.cpu} {hardware.usable_threads}",
        "devices": ", ".join(hardware.devices),
        "build": f"{made.version} {made.llama_cpp_version} {made.system_info}",
    }


_COST_SETTINGS = (
    "n_ctx",
    "n_seq_max",
    "n_batch",
    "n_ubatch",
    "n_gpu_layers",
    "draft_gpu_layers",
    "kv_type",
    "flash_attention",
    "reproducible",
)


def _fingerprint(path: Path) -> str:
    """Tell one model file from another: size, first and last bytes. Reading all of a large one takes too long."""
    with path.open("rb") as file:
        size = file.seek(0, 2)
        file.seek(0)
        digest = hashlib.sha256(file.read(1 << 16))
        file.seek(max(0, size - (1 << 16)))
        digest.update(file.read())
    return f"{size}-{digest.hexdigest()[:16]}"
