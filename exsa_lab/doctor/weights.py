"""Section about the target's weight format: what another one would gain and lose, where that was measured."""

from __future__ import annotations

from exsa_lab.doctor.models import facts_of, pair_facts
from exsa_lab.engine.engine import Engine
from exsa_lab.models.advice import advice_on, may_gain
from exsa_lab.widgets.panel import Section


def weights_section(engine: Engine | None) -> Section | None:
    """The advice for this machine; None where no format could help: on a GPU, or with batched kernels already."""
    facts = facts_of(engine.target) if engine is not None else pair_facts(None)["target"]
    on_gpu = engine is not None and engine.config.n_gpu_layers != 0
    if facts is None or on_gpu or not may_gain(facts):
        return None
    title = f"Weight format ({facts.quantisation})"
    said, advice = advice_on(facts)
    return Section(title, summary=said, lines=tuple(advice.lines()) if advice is not None else ())
