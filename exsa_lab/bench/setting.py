"""What a benchmark runs on: options, model files, engines, and prompts as tokens that every peer gets alike."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from exsa_lab.config import EngineConfig, SamplingParams
from exsa_lab.engine.engine import Engine
from exsa_lab.engine.worker.isolated import IsolatedWorker
from exsa_lab.errors import ConfigError
from exsa_lab.loading import machine, prepare
from exsa_lab.models.conversion import check_format, convert
from exsa_lab.models.cost_scaling import scale_cost
from exsa_lab.models.gguf_facts import cost_note, read_facts
from exsa_lab.models.resolve import resolve, resolve_draft
from exsa_lab.planner import plan
from exsa_lab.prompts.encode import encode_prompt

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
    device: str = "cpu"
    """"cpu", or "gpu": every contender then gets the plan for this machine's GPUs."""
    cost_factor: int = 1
    """Times as much as a token of the target costs, with the same text (`exsa_lab.models.cost_scaling`)."""
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
    """The plan for this machine, as `exsa_lab.load` would make it."""
    wishes: dict[str, Any] = field(default_factory=dict)
    """What the plan was asked for."""

    @property
    def n_threads(self) -> int:
        return self.config.n_threads

    def open_engine(self, **config: Any) -> Engine:
        """Open an engine of the benchmark's own, planned with these settings; the kernel's engine is left alone."""
        settings = _planned(self.path, self.draft, {**self.wishes, **config}) if config else self.config
        return Engine(prepare(str(self.path), str(self.draft) if self.draft else None, settings), settings)

    def open_isolated(self) -> Engine:
        """Open the engine in a process of its own."""
        opener = prepare(str(self.path), str(self.draft) if self.draft else None, self.config)
        return Engine.on(IsolatedWorker(opener, self.config), self.config)


def subjects(options: Options, **config: Any) -> list[Subject]:
    """Resolve the model, convert it to each weight format asked for and scale its cost (seconds, then cached).

    Requantizing a file that is quantized already loses some quality: fine for measuring speed. Raises ModelNotFound,
    ModelError, or ConfigError for an unknown format.
    """
    for name in options.weights:
        if name != AS_SHIPPED:
            check_format(name)
    target = resolve(options.model)  # the draft is that of the original
    draft = resolve_draft(options.draft, options.model)
    draft_path = draft.path if draft else None
    found = []
    for name in options.weights:
        path = target.path
        if name != AS_SHIPPED:
            options.progress(f"converting {target.path.name} to {name}")
            path = convert(target.path, name, n_threads=options.n_threads)
        path = scale_cost(path, options.cost_factor)
        wishes = {**_device_wishes(options), **config}
        settings = _planned(path, draft_path, wishes)
        if options.device == "gpu" and not settings.n_gpu_layers:
            raise ConfigError(
                "no layer can run on a GPU here: there is none, or this build of llama.cpp cannot use it.",
                hint="%exsa_doctor says which; leave --device out to measure on the CPU.",
            )
        label = ", ".join(filter(None, (f"{target.name} {name}", cost_note(options.cost_factor))))
        found.append(Subject(label, path, draft_path, settings, wishes))
    return found


def _device_wishes(options: Options) -> dict[str, Any]:
    if options.device == "gpu":
        return {"n_threads": options.threads} if options.threads else {}
    return {"n_threads": options.n_threads, "n_gpu_layers": 0, "draft_gpu_layers": 0}


def _planned(path: Path, draft: Path | None, wishes: dict[str, Any]) -> EngineConfig:
    """What every contender gets: the plan for this machine."""
    return plan(machine(), read_facts(path), read_facts(draft) if draft else None, wishes).config


def chat_tokens(engine: Engine, prompt: str) -> list[int]:
    """Return the tokens the engine makes of a prompt with ``chat=True``, to give a peer the very same ones."""
    return encode_prompt(engine.target, prompt, SamplingParams(), engine.config.n_ctx).tokens


def progress_to_stderr(text: str) -> None:
    """Show what is being done on one line that is written over; nothing where no one watches."""
    watched = sys.stderr.isatty() or type(sys.stderr).__module__.startswith("ipykernel")
    if watched:
        print(f"\r{text[:100]:<100}\r", end="", file=sys.stderr, flush=True)
