"""Section about the target's weight format: what another one would gain and lose, where that was measured."""

from __future__ import annotations

from exsa_lab.doctor.models import facts_of, pair_facts
from exsa_lab.engine.engine import Engine
from exsa_lab.models.advice import known_advice, may_gain
from exsa_lab.widgets.panel import Section


def weights_section(engine: Engine | None) -> Section | None:
    """The advice for this machine; None where no format could help: on a GPU, or with batched kernels already."""
    facts = facts_of(engine.target) if engine is not None else pair_facts(None)["target"]
    on_gpu = engine is not None and engine.config.n_gpu_layers != 0
    if facts is None or on_gpu or not may_gain(facts):
        return None
    title = f"Weight format ({facts.quantisation})"
    advice = known_advice(facts.path)
    if advice is None:
        how = "exsa_lab.models.advise() measures what another format gains and loses here, in about ten seconds."
        return Section(title, summary=f"llama.cpp has no batched CPU kernels for {facts.quantisation}. {how}")
    return Section(title, summary=advice.verdict, lines=tuple(advice.lines()))
