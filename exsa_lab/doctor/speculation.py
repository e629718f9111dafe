"""The section about what drafting can gain on this machine, from the measured cost of a step."""

from __future__ import annotations

from exsa_lab.costs.model import CostModel
from exsa_lab.engine.engine import Engine
from exsa_lab.scatter import of_costs
from exsa_lab.trace.break_even import best_case_speedup, break_even_acceptance, round_cost, verdict_sentence
from exsa_lab.widgets.panel import Section

_LENGTHS = (1, 2, 3, 4, 6, 8, 16)


def speculation_section(engine: Engine | None) -> Section:
    """The verdict in a sentence, and for each draft length what it costs and what it needs."""
    if engine is None:
        return Section("Speculation", summary="Load an engine: what pays is measured then.")
    return _from_costs(engine.costs)


def _from_costs(costs: CostModel | None) -> Section:
    if costs is None:
        return Section("Speculation", summary="Nothing was measured for this engine.")
    header = ("draft tokens", "cost in single steps", "break-even acceptance", "best case, model", "best case, copying")
    rows = tuple(_row(costs, k) for k in _LENGTHS)
    return Section("Speculation", rows, header, f"{verdict_sentence(costs)} {step_sentence(costs)}")


def step_sentence(costs: CostModel) -> str:
    """Say what a single step takes, and how sure that is."""
    return f"A single step takes {1000 * costs.step_seconds(1):.1f} ms now. {of_costs(costs.scatter)}"


def _row(costs: CostModel, k: int) -> tuple[str, ...]:
    has_draft = costs.draft is not None
    needed = break_even_acceptance(costs, k, uses_model=has_draft)
    return (
        str(k),
        f"{round_cost(costs, k, uses_model=has_draft):.1f}",
        "cannot win" if needed is None else f"{needed:.0%}",
        f"{best_case_speedup(costs, k):.1f}x" if has_draft else "",
        f"{best_case_speedup(costs, k, uses_model=False):.1f}x",
    )
