"""Sections about model files: those in use, and those known by name."""

from __future__ import annotations

from pathlib import Path

from exsa_lab.doctor.units import size
from exsa_lab.engine.engine import Engine
from exsa_lab.errors import ModelNotFound
from exsa_lab.loading import DEFAULT_TARGET
from exsa_lab.models.catalog import PAIRS
from exsa_lab.models.gguf_facts import GGUFFacts, read_facts
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
            rows += [(role, known.path.stem), ("", describe(known)), ("file", str(known.path))]
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
        f"vocabulary {facts.vocabulary.size:,}"
    )


def parameters(number: float) -> str:
    """Return ``"135M"`` or ``"7.6B"``."""
    return f"{number / 1e9:.1f}B" if number >= 1e9 else f"{number / 1e6:.0f}M"


def catalog_section() -> Section:
    """Every model the catalog knows by name, and whether it is on this machine."""
    rows = []
    for pair in PAIRS.values():
        for role, entry in (("target", pair.target), ("draft", pair.draft)):
            if entry is None:
                continue
            try:
                where = f"here, {size(entry.local_path().stat().st_size)}"
            except ModelNotFound as error:
                where = f"not here: {error.hint or error.message}"
            rows.append((entry.name, entry.title, role, parameters(entry.parameters * 1e9), entry.licence, where))
    return Section(
        "Models by name (%exsa_load NAME; a .gguf path works too)",
        tuple(rows),
        ("name", "model", "role", "parameters", "licence", "on this machine"),
        is_wide=True,
    )
