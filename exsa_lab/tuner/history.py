"""The tuner's past runs as a table: live, and as HTML that a saved notebook keeps."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from exsa_lab.experiments import METRICS, Experiment
from exsa_lab.scatter import if_busy, spread
from exsa_lab.widgets.rows import visible

_LEFT = ' style="text-align:left"'
_WHOLE = ' style="white-space:nowrap"'
_DRAFTS = ("accepted", "drafted")


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
        texts = _texts(run, summary)
        cells = "".join(f"<td{_WHOLE}>{_cell(texts[name], summary[name] == best[name])}</td>" for name in names)
        note = " (stopped)" if run.was_stopped else ""
        rows.append(f"<tr><td>{number}{note}</td><td{_LEFT}>{escape(visible(str(run.setting)))}</td>{cells}</tr>")
    return f"<table><thead><tr>{head}</tr></thead><tbody>{''.join(rows)}</tbody></table>{_lines_html(runs)}"


def table_text(runs: Sequence[Experiment]) -> str:
    """Return all runs as lines of text."""
    lines = []
    for number, run in enumerate(runs, start=1):
        numbers = ", ".join(f"{METRICS[name]} {text}" for name, text in _texts(run, run.summary()).items())
        lines.append(f"run {number}: {run.setting}: {numbers}")
    return "\n".join(lines + _below(runs)) or "No runs yet."


def _below(runs: Sequence[Experiment]) -> list[str]:
    return [*_targets(runs), *_sureness(runs)]


def _sureness(runs: Sequence[Experiment]) -> list[str]:
    """What runs of the same setting say of how sure the speeds are, and which machine was busy meanwhile."""
    alike: list[list[int]] = []
    for number, run in enumerate(runs):
        group = next((group for group in alike if runs[group[0]].is_like(run)), None)
        if group is None:
            alike.append([number])
        else:
            group.append(number)
    lines = []
    for group in (group for group in alike if len(group) > 1):
        speeds = [runs[number].summary()["tokens_per_second"] for number in group]
        names = ", ".join(f"run {number + 1}" for number in group)
        found = f"{names} are alike: {min(speeds):.1f} to {max(speeds):.1f} tok/s together."
        lines.append(f"{found} {if_busy(spread(speeds), 'they')}".rstrip())
    unsteady = [f"run {number}: {run.sureness}" for number, run in enumerate(runs, 1) if run.sureness != "one run"]
    if runs and not lines:
        lines.append("Every speed is of one run: repeat to see how sure it is.")
    return lines + unsteady


def _targets(runs: Sequence[Experiment]) -> list[str]:
    """Which models wrote: a run on a cost-scaled target must not be taken for one on the original."""
    names = dict.fromkeys(run.target for run in runs if run.target)
    return [
        f"{name}: " + ", ".join(f"run {number}" for number, run in enumerate(runs, start=1) if run.target == name)
        for name in names
    ]


def _lines_html(runs: Sequence[Experiment]) -> str:
    return "".join(f"<p>{escape(visible(line))}</p>" for line in _below(runs))


def _best(name: str, values: list[float]) -> float | None:
    """The value to print in bold; None where there is nothing to choose."""
    if len(set(values)) < 2 or name in ("tokens", "failed"):
        return None
    return min(value for value in values if value) if name == "ttft_s" else max(values)


def _cell(text: str, is_best: bool) -> str:
    return f"<b>{escape(text)}</b>" if is_best else escape(text)


def _texts(run: Experiment, summary: dict[str, float]) -> dict[str, str]:
    """A run's numbers as they are shown; a share of few draft tokens says how few."""
    texts = {name: _format(name, value) for name, value in summary.items()}
    accepted, drafted = (sum(getattr(gen.stats, f"{what}_tokens") for gen in run.generations) for what in _DRAFTS)
    return texts | {"acceptance_rate": f"{accepted:,} of {drafted:,}" if drafted else "-"}


def _format(name: str, value: float) -> str:
    match name:
        case "ttft_s":
            return f"{1000 * value:.0f} ms"
        case "tokens" | "failed":
            return f"{value:,.0f}"
        case "tokens_per_round":
            return f"{value:.2f}"
    return f"{value:.1f}"
