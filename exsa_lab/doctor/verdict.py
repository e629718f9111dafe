"""What the doctor says first: how things are, in a sentence or two, and what to do next."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable

from exsa_lab.doctor.features import read_cpuinfo, unused_features
from exsa_lab.doctor.machine import build_command, likely_backend
from exsa_lab.doctor.models import facts_of
from exsa_lab.doctor.scorecard import Patient, in_notebook, patient_of
from exsa_lab.doctor.speculation import step_sentence
from exsa_lab.engine.engine import Engine, EngineState
from exsa_lab.models.advice import advice_on, may_gain
from exsa_lab.runtime.library import build
from exsa_lab.scatter import if_busy
from exsa_lab.trace.break_even import verdict_sentence
from exsa_lab.widgets.panel import Section

NOTHING_TO_DO = "nothing: all is as fast as it can be here as far as exsa_lab knows"


def verdict_section(engine: Engine | None) -> Section:
    """The verdict, and all that could be done, the most useful first."""
    patient = patient_of(engine)
    is_over = patient.engine is not None and patient.engine.state is not EngineState.OPEN
    steps = [step for step in (ask(patient) for ask in (STEPS[:1] if is_over else STEPS)) if step] or [NOTHING_TO_DO]
    rows = tuple(("then" if number else "next", step) for number, step in enumerate(steps))
    return Section("Verdict", rows, summary=_verdict(patient), leads=True)


def _verdict(patient: Patient) -> str:
    engine, found = patient.engine, patient.hardware
    where = found.gpus[0].name if patient.config.n_gpu_layers and found.gpus else f"{found.usable_threads} CPU cores"
    if engine is None:
        return f"llama.cpp runs here, on {where}. No engine is loaded: what is said of one below is what loading gives."
    if engine.state is not EngineState.OPEN:
        return f"The engine with {engine.target.name} is {engine.state}."
    if engine.costs is None:
        return f"{engine.target.name} is loaded, on {where}. What a step costs was not measured."
    return f"{engine.target.name} is loaded, on {where}. {step_sentence(engine.costs)} {verdict_sentence(engine.costs)}"


def _load(patient: Patient) -> str:
    if patient.engine is None:
        return "%exsa_load loads the default pair; a %%exsa cell does so by itself"
    if patient.engine.state is EngineState.FAILED:
        return "%exsa_load again: the engine failed (the end of llama.cpp's log is below)"
    return "" if patient.engine.state is EngineState.OPEN else "%exsa_load loads it again"


def _use_gpu(patient: Patient) -> str:
    found = patient.hardware
    if not found.can_offload and (backend := likely_backend(found)):
        return f"build llama.cpp for the GPU: {build_command(backend)}"
    if found.can_offload and found.gpus and not patient.config.n_gpu_layers:
        return f"%exsa_load --n-gpu-layers -1 computes on {found.gpus[0].name}"
    return ""


def _measure_again(patient: Patient) -> str:
    costs = patient.engine.costs if patient.engine else None
    if costs is not None and if_busy(costs.scatter):
        return "end what else computes here, then %exsa_load --recalibrate: the costs of a step are uncertain"
    return ""


def _change_format(patient: Patient) -> str:
    facts = facts_of(patient.engine.target) if patient.engine else None
    if facts is None or patient.config.n_gpu_layers or not may_gain(facts):
        return ""
    said, advice = advice_on(facts)
    return "" if advice is not None and advice.has_best(facts.quantisation) else said


def _draft(patient: Patient) -> str:
    if patient.engine is not None and patient.engine.draft is None and patient.engine.status().max_draft_length:
        return "%exsa_load TARGET --draft auto, or a .gguf of its family, lets a draft model guess ahead"
    return ""


def _show_strips(_patient: Patient) -> str:
    if in_notebook() and importlib.util.find_spec("anywidget") is None:
        return "pip install anywidget, then restart the kernel: tokens then show where they came from"
    return ""


def _build_for_this_cpu(_patient: Patient) -> str:
    unused = unused_features(build().system_info, read_cpuinfo())
    return f"in a clone, make clean lab without WHEELS: a build that uses {', '.join(unused)}" if unused else ""


STEPS: tuple[Callable[[Patient], str], ...] = (
    _load,
    _use_gpu,
    _measure_again,
    _change_format,
    _draft,
    _show_strips,
    _build_for_this_cpu,
)
"""Each says what could be done in its matter, "" where there is nothing; the most useful first."""
