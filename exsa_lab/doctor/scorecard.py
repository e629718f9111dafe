"""The scorecard: what exsa_lab can do, whether it is active now, and what to change."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from dataclasses import dataclass

from IPython.core.getipython import get_ipython

from exsa_lab.config import EngineConfig
from exsa_lab.doctor.machine import likely_backend
from exsa_lab.doctor.models import facts_of
from exsa_lab.doctor.plan import plan_of
from exsa_lab.doctor.units import count
from exsa_lab.engine.engine import Engine
from exsa_lab.hardware import Hardware
from exsa_lab.loading import machine
from exsa_lab.widgets.panel import Section

MARKS = {True: "● on", False: "○ off"}


@dataclass(frozen=True, slots=True)
class Score:
    """One feature: whether it is active, how, and what the user can change ("" where there is nothing to)."""

    feature: str
    is_active: bool
    now: str
    change: str = ""


@dataclass(frozen=True, slots=True)
class Patient:
    """What the scores are about: an engine or, without one, what loading the default pair would give."""

    engine: Engine | None
    config: EngineConfig
    hardware: Hardware


def scorecard_section(engine: Engine | None) -> Section:
    """All scores as a table."""
    header = ("feature", "", "now", "to change")
    rows = tuple((s.feature, MARKS[s.is_active], s.now, s.change) for s in scores(engine))
    return Section("What is active, and what to change", rows, header, is_wide=True)


def scores(engine: Engine | None) -> list[Score]:
    """Score every feature."""
    patient = patient_of(engine)
    return [score(patient) for score in SCORES]


def patient_of(engine: Engine | None) -> Patient:
    """Return the engine with its settings and the machine; without one, with the settings that loading would take."""
    planned = None if engine else plan_of(None)
    config = engine.config if engine else planned.config if planned else EngineConfig()
    return Patient(engine, config, machine())


def in_notebook() -> bool:
    """Whether a kernel asks, which can show widgets."""
    return hasattr(get_ipython(), "kernel")


def _gpu_offload(patient: Patient) -> Score:
    config, found = patient.config, patient.hardware
    if not found.can_offload:
        change = "install a GPU build: see Build" if likely_backend(found) else "a GPU, and a build for it"
        return Score("GPU offload", False, "this build of llama.cpp runs on the CPU only", change)
    if not found.gpus:
        return Score("GPU offload", False, "the build can, but it sees no GPU", "check the driver")
    if config.n_gpu_layers == 0:
        return Score("GPU offload", False, f"no layers on {found.gpus[0].name}", "%exsa_load --n-gpu-layers -1")
    layers = "all layers" if config.n_gpu_layers < 0 else count(config.n_gpu_layers, "layer")
    return Score("GPU offload", True, f"{layers} on {found.gpus[0].name}", "--n-gpu-layers N for fewer")


def _draft_model(patient: Patient) -> Score:
    engine = patient.engine
    if engine is None:
        return Score("draft model", False, "nothing is loaded", "%exsa_load takes the catalog's draft by itself")
    if engine.draft is None:
        return Score("draft model", False, "none is loaded", "%exsa_load TARGET --draft auto, or a .gguf of its family")
    return Score("draft model", True, engine.draft.name, "--draft none to do without")


def _speculation(patient: Patient) -> Score:
    engine = patient.engine
    if engine is None:
        return Score("speculation", False, "nothing is loaded", "%%exsa loads the default pair")
    if not engine.status().max_draft_length:
        return Score("speculation", False, "this model's memory cannot be rolled back", "another target")
    stats = [generation.stats for generation in engine.generations]
    drafted, accepted = sum(s.drafted_tokens for s in stats), sum(s.accepted_tokens for s in stats)
    if not drafted:
        now = "nothing was drafted yet" if any(s.rounds for s in stats) else "ready; nothing was generated yet"
        return Score(
            "speculation", bool(engine.draft), now, "--draft-length K drafts in any case; auto only where it pays"
        )
    now = f"{accepted:,} of {count(drafted, 'draft token')} accepted ({accepted / drafted:.0%})"
    return Score("speculation", True, now, "--draft-length K, --drafter model|ngram|none")


def _batching(patient: Patient) -> Score:
    slots = patient.config.n_seq_max
    if slots == 1:
        return Score("continuous batching", False, "one slot: generations wait for each other", "--n-seq-max 16")
    peak = max((step.sequences for step in patient.engine.steps), default=0) if patient.engine else 0
    now = f"{slots} slots" + (f", up to {peak} used at once so far" if peak else "")
    return Score("continuous batching", True, now, "%%exsa --background, or engine.map(prompts)")


def _context(patient: Patient) -> Score:
    config = patient.config
    facts = facts_of(patient.engine.target) if patient.engine else None
    now = f"n_ctx {config.n_ctx:,}, n_batch {config.n_batch:,}, n_ubatch {config.n_ubatch:,}"
    if facts is None or config.n_ctx == facts.context_limit:
        return Score("batch and context size", True, now, "--n-ctx, --n-batch, --n-ubatch")
    limit = f"the model was trained for {facts.context_limit:,}"
    return Score("batch and context size", True, f"{now}; {limit}", f"--n-ctx {facts.context_limit}")


def _kv_reuse(patient: Patient) -> Score:
    engine = patient.engine
    if engine is None:
        kept = f"keeps up to {patient.config.prefix_cache_tokens:,} tokens"
        return Score("KV reuse", True, kept, "--prefix-cache-tokens N")
    status = engine.status()
    reused = sum(generation.stats.cached_prompt_tokens for generation in engine.generations)
    now = f"{count(status.cells_cached, 'cell')} kept; {count(reused, 'prompt token')} reused so far"
    return Score("KV reuse", True, now, "begin prompts alike; --prefix-cache-tokens N keeps more")


def _streaming(_patient: Patient) -> Score:
    if not in_notebook():
        return Score("streaming", True, "as text", "in JupyterLab every token shows where it came from")
    if importlib.util.find_spec("anywidget") is None:
        return Score("streaming", False, "anywidget is missing", "pip install anywidget, then restart the kernel")
    return Score("streaming", True, "as a token strip", "--view text, or --view none")


def _async(_patient: Patient) -> Score:
    return Score("async", True, "from any thread or event loop", "await gen, async for event in gen.stream()")


SCORES: tuple[Callable[[Patient], Score], ...] = (
    _gpu_offload,
    _draft_model,
    _speculation,
    _batching,
    _context,
    _kv_reuse,
    _streaming,
    _async,
)
