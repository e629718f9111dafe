"""Puts the report together. A doctor must not fall ill: a section that cannot be made says why in its place."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from exsa_lab.doctor.engine import log_section, notes_section, status_section
from exsa_lab.doctor.machine import build_section, machine_section
from exsa_lab.doctor.models import catalog_sections, models_section
from exsa_lab.doctor.plan import memory_section, plan_section
from exsa_lab.doctor.scorecard import scorecard_section
from exsa_lab.doctor.speculation import speculation_section
from exsa_lab.doctor.verdict import verdict_section
from exsa_lab.doctor.weights import weights_section
from exsa_lab.engine.engine import Engine
from exsa_lab.errors import EngineNotLoaded
from exsa_lab.loading import get_engine
from exsa_lab.widgets.panel import Section, to_html, to_text

Maker = Callable[[Engine | None], Section | None]
"""Makes one section for an engine, or for none; returns None where there is nothing to say."""

SECTIONS: dict[str, Maker] = {
    "Verdict": verdict_section,
    "Machine": machine_section,
    "Build": build_section,
    "Models": models_section,
    "Memory": memory_section,
    "Plan": plan_section,
    "Weight format": weights_section,
    "Speculation": speculation_section,
    "Notes": notes_section,
    "What is active, and what to change": scorecard_section,
    "llama.cpp's log": log_section,
}
"""The sections by title, in their order: what to do comes first, the details after it.

A new one is one line here and a function that returns a `Section`.
"""


@dataclass(frozen=True, slots=True)
class DoctorReport:
    """Titled tables; ``text`` for terminals, ``html`` for pages, and a notebook picks by itself."""

    title: str
    sections: tuple[Section, ...]

    @property
    def text(self) -> str:
        return to_text(self.title, self.sections)

    @property
    def html(self) -> str:
        return to_html(self.title, self.sections)

    def __repr__(self) -> str:
        return self.text

    def _repr_html_(self) -> str:
        return self.html


def report(engine: Engine | None = None) -> DoctorReport:
    """Look at machine, build, models and engine (the kernel's where none is given); works without one too.

    Example: ``print(report().text)``.
    """
    engine = engine or _kernel_engine()
    made = (_make(title, maker, engine) for title, maker in SECTIONS.items())
    return DoctorReport("exsa_lab doctor", tuple(section for section in made if section is not None))


def status(engine: Engine | None = None) -> DoctorReport:
    """Return what the engine is doing and what it holds, as one table."""
    return DoctorReport("", (status_section(engine or _kernel_engine()),))


def models() -> DoctorReport:
    """Return the catalog: what is known by name, and what of it is on this machine."""
    return DoctorReport("", catalog_sections())


def _kernel_engine() -> Engine | None:
    try:
        return get_engine()
    except EngineNotLoaded:
        return None


def _make(title: str, maker: Maker, engine: Engine | None) -> Section | None:
    try:
        return maker(engine)
    except Exception as error:
        return Section(title, summary=f"Not available: {type(error).__name__}: {error}")
