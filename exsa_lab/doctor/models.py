"""Sections about model files: those in use, and those known by name."""

from __future__ import annotations

from pathlib import Path

from exsa_lab.doctor.units import size
from exsa_lab.engine.engine import Engine
from exsa_lab.loading import DEFAULT_TARGET, machine
from exsa_lab.models.gguf_facts import GGUFFacts, read_facts
from exsa_lab.models.listing import list_models
from exsa_lab.models.resolve import resolve, resolve_draft
from exsa_lab.runtime.protocol import Model
from exsa_lab.widgets.panel import Section


def facts_of(model: Model | None) -> GGUFFacts | None:
    """Return the facts of an opened model's file; None for one without a file."""
    path = getattr(model, "path", None)
    return read_facts(path) if isinstance(path, Path) else None


def pair_facts(engine: Engine | None) -> dict[str, GGUFFacts | None]:
    """Return the facts of target and draft: the engine's, or the default pair's where there is no engine."""
    if engine is not None:
        return {"target": facts_of(engine.target), "draft": facts_of(engine.draft)}
    target, draft = resolve(DEFAULT_TARGET), resolve_draft("auto", DEFAULT_TARGET)
    return {"target": read_facts(target.path), "draft": read_facts(draft.path) if draft else None}


def models_section(engine: Engine | None) -> Section:
    """What target and draft are."""
    title = "Models" if engine else "Models (the default pair; nothing is loaded)"
    facts = pair_facts(engine)
    rows: list[tuple[str, ...]] = []
    for role, model in (
        (("target", engine.target), ("draft", engine.draft)) if engine else (("target", None), ("draft", None))
    ):
        known = facts[role]
        if known is not None:
            rows += [(role, model.name if model else known.path.stem), ("", describe(known)), ("file", str(known.path))]
        elif model is not None:
            rows.append((role, f"{model.name}: {model.vocab_size:,} tokens of vocabulary, no file"))
        else:
            rows.append((role, "none"))
    return Section(title, tuple(rows))


def describe(facts: GGUFFacts) -> str:
    """Say in one line what a model is.

    Example: ``"135M parameters, llama, 30 layers, Q4_1, 92.0 MiB, context 8,192, vocabulary 49,152"``.
    """
    return (
        f"{parameters(facts.num_parameters)} parameters, {facts.architecture}, {facts.layers} layers, "
        f"{facts.quantisation}, {size(facts.weight_bytes)}, context {facts.context_limit:,}, "
        f"vocabulary {facts.vocabulary.size:,}" + (f", {facts.cost_note}" if facts.cost_note else "")
    )


def parameters(number: float) -> str:
    """Return ``"135M"`` or ``"7.6B"``."""
    return f"{number / 1e9:.1f}B" if number >= 1e9 else f"{number / 1e6:.0f}M"


def catalog_sections() -> tuple[Section, ...]:
    """Every model the catalog knows by name, and the other GGUF files in the caches: where, and how they would run."""
    known, others = [], []
    for model in list_models(machine()):
        if model.parameters is None:
            others.append((model.name, size(model.size_bytes), str(model.fit), str(model.where)))
            continue
        parts = (
            model.title,
            parameters(model.parameters * 1e9),
            size(model.size_bytes),
            model.licence,
            model.draft or "",
        )
        where = model.note if model.path is None and not model.is_on_hub else str(model.where)
        known.append((model.name, *parts, str(model.fit), where))
    titles = ("name", "model", "parameters", "size", "licence", "draft", "would run", "where")
    summary = (
        "%exsa_load NAME loads one; what is not here is downloaded. A .gguf path or hf:owner/repo:Q4_K_M works too."
    )
    sections = [Section("Models by name", tuple(known), titles, summary, is_wide=True)]
    if others:
        sections.append(Section("Other files", tuple(others), ("name", "size", "would run", "where"), is_wide=True))
    return tuple(sections)
