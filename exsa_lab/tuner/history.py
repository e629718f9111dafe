"""The tuner's past runs as a table: live, and as HTML that a saved notebook keeps."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from exsa_lab.experiments import METRICS, Experiment
from exsa_lab.widgets.rows import visible

_LEFT = ' style="text-align:left"'
_WHOLE = ' style="white-space:nowrap"'


def table_html(runs: Sequence[Experiment]) -> str:
    """Return all runs as an HTML table, newest first, the best value of a column in bold; every text escaped."""
    if not runs:
        return "<p>No runs yet.</p>"
    summaries = [run.summary() for run in runs]
    names = [name for name in METRICS if name != "failed" or any(s["failed"] for s in summaries)]
    best = {name: _best(name, [summary[name] for summary in summaries]) for name in names}
    head = f"<th>run</th><th{_LEFT}>setting</th>" + "".join(f"<th>{escape(METRICS[name])}</th>" for name in names)
    rows = []
    for number, (run, summary) in reversed(list(enumerate(zip(runs, summaries, strict=True), start=1))):
        cells = "".join(f"<td{_WHOLE}>{_cell(name, summary[name], best[name])}</td>" for name in names)
        note = " (stopped)" if run.was_stopped else ""
        rows.append(f"<tr><td>{number}{note}</td><td{_LEFT}>{escape(visible(str(run.setting)))}</td>{cells}</tr>")
    return f"<table><thead><tr>{head}</tr></thead><tbody>{''.join(rows)}</tbody></table>{_targets_html(runs)}"


def table_text(runs: Sequence[Experiment]) -> str:
    """Return all runs as lines of text."""
    lines = []
    for number, run in enumerate(runs, start=1):
        numbers = ", ".join(f"{METRICS[name]} {_format(name, value)}" for name, value in run.summary().items())
        lines.append(f"run {number}: {run.setting}: {numbers}")
    return "\n".join(lines + _targets(runs)) or "No runs yet."


def _targets(runs: Sequence[Experiment]) -> list[str]:
    """Which models wrote: a run on a cost-scaled target must not be taken for one on the original."""
    names = dict.fromkeys(run.target for run in runs if run.target)
    return [
        f"{name}: " + ", ".join(f"run {number}" for number, run in enumerate(runs, start=1) if run.target == name)
        for name in names
    ]


def _targets_html(runs: Sequence[Experiment]) -> str:
    return "".join(f"<p>{escape(visible(line))}</p>" for line in _targets(runs))


def _best(name: str, values: list[float]) -> float | None:
    """The value to print in bold; None where there is nothing to choose."""
    if len(set(values)) < 2 or name in ("tokens", "failed"):
        return None
    return min(value for value in values if value) if name == "ttft_s" else max(values)


def _cell(name: str, value: float, best: float | None) -> str:
    text = escape(_format(name, value))
    return f"<b>{text}</b>" if value == best else text


def _format(name: str, value: float) -> str:
    match name:
        case "acceptance_rate":
            return f"{value:.0%}" if value else "-"
        case "ttft_s":
            return f"{1000 * value:.0f} ms"
        case "tokens" | "failed":
            return f"{value:,.0f}"
        case "tokens_per_round":
            return f"{value:.2f}"
    return f"{value:.1f}"
