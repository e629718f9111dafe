"""What a benchmark runs on: options, model files, engines, and prompts as tokens that every peer gets alike."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from exsa_lab.config import EngineConfig
from exsa_lab.engine.engine import Engine
from exsa_lab.loading import prepare
from exsa_lab.models.conversion import check_format, convert
from exsa_lab.models.resolve import resolve, resolve_draft

AS_SHIPPED = "as-shipped"


@dataclass(frozen=True, slots=True)
class Options:
    """The options all benchmarks share, and the benchmark's own ones under ``given``."""

    model: str = "smollm2-135m"
    draft: str = "auto"
    weights: tuple[str, ...] = (AS_SHIPPED,)
    """Weight formats to measure: "as-shipped", or a format to convert to first, such as "Q8_0"."""
    repeats: int = 5
    threads: int = 0
    """0 means one per usable core."""
    quick: bool = False
    given: argparse.Namespace = field(default_factory=argparse.Namespace)
    progress: Callable[[str], None] = lambda text: None

    @property
    def n_threads(self) -> int:
        if self.threads:
            return self.threads
        from exsa_lab.hardware import detect

        return detect().usable_threads

    def pick(self, full: Any, quick: Any) -> Any:
        """Return the size for a real measurement, or the one for ``--quick``."""
        return quick if self.quick else full


@dataclass(frozen=True, slots=True)
class Subject:
    """One target file to measure, with its draft and the context every contender gets."""

    name: str
    path: Path
    draft: Path | None
    config: EngineConfig

    @property
    def n_threads(self) -> int:
        return self.config.n_threads

    def open_engine(self, **config: Any) -> Engine:
        """Open an engine of the benchmark's own; the kernel's engine is left alone."""
        settings = self.config if not config else EngineConfig(**{**_fields(self.config), **config})
        return Engine(prepare(str(self.path), str(self.draft) if self.draft else None, settings), settings)


def subjects(options: Options, **config: Any) -> list[Subject]:
    """Resolve the model and convert it to each weight format asked for (seconds, then cached).

    Requantizing a file that is quantized already loses some quality: fine for measuring speed. Raises ModelNotFound,
    ModelError, or ConfigError for an unknown format.
    """
    for name in options.weights:
        if name != AS_SHIPPED:
            check_format(name)
    target = resolve(options.model)
    draft = resolve_draft(options.draft, options.model)
    settings = EngineConfig(n_threads=options.n_threads, **config)
    found = []
    for name in options.weights:
        path = target.path
        if name != AS_SHIPPED:
            options.progress(f"converting {target.path.name} to {name}")
            path = convert(target.path, name, n_threads=options.n_threads)
        found.append(Subject(f"{target.name} {name}", path, draft.path if draft else None, settings))
    return found


def chat_tokens(engine: Engine, prompt: str) -> list[int]:
    """Return the tokens the engine makes of a prompt with ``chat=True``, to give a peer the very same ones."""
    text = engine.target.render_chat([{"role": "user", "content": prompt}])
    return engine.target.tokenize(text, add_special=False, parse_special=True)


def progress_to_stderr(text: str) -> None:
    """Show what is being done on one line that is written over; nothing where no one watches."""
    watched = sys.stderr.isatty() or type(sys.stderr).__module__.startswith("ipykernel")
    if watched:
        print(f"\r{text[:100]:<100}\r", end="", file=sys.stderr, flush=True)


def _fields(config: EngineConfig) -> dict[str, Any]:
    return {name: getattr(config, name) for name in config.__dataclass_fields__}
