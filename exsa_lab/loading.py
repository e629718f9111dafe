"""The kernel's one engine: load it, find it, unload it."""

from __future__ import annotations

import hashlib
import platform
import threading
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any

from exsa_lab.config import EngineConfig, did_you_mean
from exsa_lab.engine.assembly import Models
from exsa_lab.engine.engine import Engine, EngineState
from exsa_lab.errors import ConfigError, EngineNotLoaded
from exsa_lab.hardware import Hardware, detect
from exsa_lab.models.gguf_facts import GGUFFacts, read_facts
from exsa_lab.models.resolve import resolve, resolve_draft
from exsa_lab.models.vocabulary import check_vocabulary
from exsa_lab.runtime.protocol import ProgressCallback

DEFAULT_TARGET = "smollm2-135m"
Arguments = tuple[str, str | None, tuple[tuple[str, Any], ...]]

_lock = threading.RLock()
# The kernel's engine and the arguments it was loaded with; written under the lock only.
_current: tuple[Arguments, Engine] | None = None


def load(
    target: str | Path = DEFAULT_TARGET,
    draft: str | Path | None = "auto",
    *,
    progress: Callable[[float], None] | None = None,
    **config: Any,
) -> Engine:
    """Return the kernel's engine for these models, loading them if needed.

    ``target`` is a catalog name, a path to a ``.gguf`` file or ``"hf:owner/repo/file.gguf"``; ``draft`` is the same,
    "auto" (the catalog's partner of the target, if it has one) or None. Further keywords are `EngineConfig` fields.
    ``progress`` is called with the fraction loaded, 0..1.

    The same arguments give the same engine and load nothing; other arguments close the old engine first. Raises
    ModelNotFound, InvalidModel, VocabularyMismatch, ModelLoadError, OutOfMemory or ConfigError; the old engine is
    kept when the new arguments are wrong.
    """
    global _current
    arguments = (str(target), None if draft is None else str(draft), tuple(sorted(config.items())))
    with _lock:
        if _current is not None and _current[0] == arguments and _current[1].state is EngineState.OPEN:
            return _current[1]
        settings = _settings(config)
        open_models = prepare(str(target), None if draft is None else str(draft), settings)
        unload()
        engine = Engine(open_models, settings, progress=progress)
        _current = (arguments, engine)
        return engine


def get_engine() -> Engine:
    """Return the kernel's engine; raises EngineNotLoaded when there is none."""
    with _lock:
        if _current is None or _current[1].state is not EngineState.OPEN:
            raise EngineNotLoaded("no engine is loaded.", hint="Load one with xl.load() or %exsa_load.")
        return _current[1]


def use(engine: Engine) -> Engine:
    """Make this the kernel's engine, closing the one before: for an engine on scripted models, say."""
    global _current
    with _lock:
        unload()
        _current = (("", None, ()), engine)  # the arguments of no `load`
        return engine


def unload() -> bool:
    """Close the kernel's engine and free its memory; False when there was none."""
    global _current
    with _lock:
        if _current is None:
            return False
        engine, _current = _current[1], None
        was_open = engine.state is EngineState.OPEN
        engine.close()
        return was_open


def prepare(target: str, draft: str | None, config: EngineConfig) -> Callable[[ProgressCallback], Models]:
    """Find and check the files; returns the function that opens them on the engine thread."""
    target_path = resolve(target).path
    target_facts = read_facts(target_path)
    draft_path = resolve_draft(draft, target)
    if draft_path is not None:
        check_vocabulary(target_facts, read_facts(draft_path.path))
    return _opener(target_facts, target_path, draft_path.path if draft_path else None, config)


def _opener(
    facts: GGUFFacts, target: Path, draft: Path | None, config: EngineConfig
) -> Callable[[ProgressCallback], Models]:
    def open_models(progress: ProgressCallback) -> Models:
        from exsa_lab.runtime.model import LlamaModel

        hardware = detect()
        n_threads = config.n_threads or hardware.usable_threads
        cost_facts = _cost_facts(target, draft, config, hardware, n_threads)
        share = 0.95 if draft is not None else 1.0
        opened = LlamaModel(target, config, progress=lambda done: progress(share * done))
        if draft is None:
            return Models(opened, None, n_threads, cost_facts=cost_facts)
        try:
            partner = LlamaModel(draft, config, progress=lambda done: progress(share + (1 - share) * done))
        except BaseException:
            opened.close()
            raise
        return Models(opened, partner, n_threads, cost_facts=cost_facts)

    return open_models


def _cost_facts(
    target: Path, draft: Path | None, config: EngineConfig, hardware: Hardware, n_threads: int
) -> dict[str, str | int | None]:
    """Everything the cost of a step depends on."""
    from exsa_lab.runtime.library import build, devices

    made = build()
    return {
        "target": _fingerprint(target),
        "draft": _fingerprint(draft) if draft else None,
        "machine": f"{platform.machine()} {hardware.cpu} {hardware.usable_threads}",
        "devices": ", ".join(device.description for device in devices()),
        "build": f"{made.version} {made.llama_cpp_version} {made.system_info}",
        "n_threads": n_threads,
        **{name: getattr(config, name) for name in _COST_SETTINGS},
    }


_COST_SETTINGS = ("n_ctx", "n_seq_max", "n_batch", "n_ubatch", "n_gpu_layers", "flash_attention")


def _fingerprint(path: Path) -> str:
    """Tell one model file from another: size, first and last bytes. Reading all of a large one takes too long."""
    with path.open("rb") as file:
        size = file.seek(0, 2)
        file.seek(0)
        digest = hashlib.sha256(file.read(1 << 16))
        file.seek(max(0, size - (1 << 16)))
        digest.update(file.read())
    return f"{size}-{digest.hexdigest()[:16]}"


def _settings(config: dict[str, Any]) -> EngineConfig:
    names = [field.name for field in fields(EngineConfig)]
    for name in config:
        if name not in names:
            raise ConfigError(
                f"unknown engine setting {name!r}.",
                hint=did_you_mean(name, names).strip() or f"Known: {', '.join(names)}.",
            )
    return EngineConfig(**config)
