"""Runs against each other: two settings with intervals, and one setting under growing load."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise
from statistics import fmean
from typing import Any, NamedTuple

import numpy as np
from plotly.subplots import make_subplots

from exsa_lab.errors import ConfigError
from exsa_lab.pictures import BLUE, GREEN, GREY, ORANGE
from exsa_lab.plots.figure import TEXT, Figure, error_bars, label, traces_of
from exsa_lab.plots.intervals import batches, ratio_interval
from exsa_lab.scatter import busy_steps
from exsa_lab.trace.trace import Trace

METRICS: dict[str, str] = {
    "tokens_per_second": "tokens per second",
    "ttft_s": "time to first token",
    "mean_tokens_per_round": "tokens per round",
    "acceptance_rate": "acceptance",
}
_TIMES = frozenset({METRICS["ttft_s"]})
"""Those of which less is better."""
_MOST_CACHED_APART = 0.1
"""Share of prompt tokens: where more was cached on one side, its first tokens came sooner for that reason."""


def compare(
    a: Any,
    b: Any,
    *,
    names: tuple[str, str] = ("A", "B"),
    metrics: Sequence[str] = tuple(METRICS),
    paired: bool | None = None,
) -> Figure:
    """Draw how B compares with A: the ratio of each metric's means, with 95 % intervals.

    ``a`` and ``b`` are runs of two settings. What is compared are batches: requests that shared steps count as one
    measurement, the mean of theirs. Batches are compared in pairs where both sides have the same prompts in the same
    order (or ``paired`` says so). An interval that contains 1 means: no difference shown. One batch gives no interval:
    run each setting several times, in turns, after a run that warms up.
    """
    first, second = batches(traces_of(a)), batches(traces_of(b))
    if not first or not second:
        raise ConfigError("there is nothing to compare.", hint="Give at least one finished generation on each side.")
    if paired is None:
        paired = _prompts(first) == _prompts(second)
    rows = _ratios(first, second, metrics, paired)
    figure = Figure(columns=("metric", *names, "ratio", "low", "high"), rows=rows)
    _draw_ratios(figure, rows, *map(label, names))
    title = f"{label(names[1])} against {label(names[0])}"
    figure.update_layout(
        title=f"{title}<br><sup>{_how_sure(first, second, paired=paired)}</sup>", height=140 + 62 * max(1, len(rows))
    )
    return figure


class MetricRatio(NamedTuple):
    """How two settings did by one metric: means, their ratio b / a, and its interval (nan where there is none)."""

    metric: str
    mean_a: float
    mean_b: float
    ratio: float
    low: float
    high: float

    @property
    def has_interval(self) -> bool:
        return not math.isnan(self.high)

    @property
    def shows_difference(self) -> bool:
        return self.low > 1 or self.high < 1

    def __str__(self) -> str:
        return f"{self.ratio:.2f}" + (f" ({self.low:.2f} to {self.high:.2f})" if self.has_interval else "")


def _draw_ratios(figure: Figure, rows: list[MetricRatio], name_a: str, name_b: str) -> None:
    ratios = [row.ratio for row in rows]
    ends = [(row.low, row.high) if row.has_interval else (row.ratio, row.ratio) for row in rows]
    figure.add_vline(x=1, line={"color": GREY, "dash": "dash", "width": 1.5})
    figure.add_scatter(
        x=ratios,
        y=[label(row.metric) + (" ↓" if row.metric in _TIMES else "") for row in rows],
        mode="markers+text",
        cliponaxis=False,
        showlegend=False,
        textposition="top center",
        text=[str(row) for row in rows],
        error_x=error_bars(ratios, ends),
        marker={
            "size": 11,
            "color": [BLUE if row.shows_difference else GREY for row in rows],
            "symbol": ["circle" if row.shows_difference else "circle-open" for row in rows],
        },
        customdata=[[row.mean_a, row.mean_b] for row in rows],
        hovertemplate=f"%{{y}}: {name_a} %{{customdata[0]:.4g}}, {name_b} %{{customdata[1]:.4g}}<extra></extra>",
    )
    reached = [1.0, *(end for row in rows for end in row[3:] if np.isfinite(end))]
    room = 0.25 * max(0.2, max(reached) - min(reached))
    note = " (↓: lower is better)" if any(row.metric in _TIMES for row in rows) else ""
    figure.update_xaxes(title=f"{name_b} / {name_a}{note}", range=[max(0.0, min(reached) - room), max(reached) + room])
    figure.update_yaxes(showgrid=False, range=[len(rows) - 0.4, -0.7])


def _prompts(runs: list[list[Trace]]) -> list[list[str]]:
    return [[trace.prompt for trace in batch] for batch in runs]


def _how_sure(first: list[list[Trace]], second: list[list[Trace]], *, paired: bool) -> str:
    """The line beneath the title: of how many measurements, and what spoils them."""
    count = " and ".join("one batch" if len(side) == 1 else f"{len(side)} batches" for side in (first, second))
    if min(len(first), len(second)) == 1:
        line = f"{count}: repeat to compare"
    else:
        line = f"{count}, {'paired' if paired else 'unpaired'}, 95 % intervals (open: no difference shown)"
    cached = [_cached_share(side) for side in (first, second)]
    if abs(cached[0] - cached[1]) > _MOST_CACHED_APART:
        shares = " and ".join(f"{share:.0%}" for share in cached)
        line += f"; {shares} of the prompts were cached: first tokens do not compare"
    return "; ".join([line, *busy_steps(trace.rounds for side in (first, second) for batch in side for trace in batch)])


def _cached_share(side: list[list[Trace]]) -> float:
    stats = [trace.stats for batch in side for trace in batch]
    total = sum(each.get("prompt_tokens", 0) for each in stats)
    return sum(each.get("cached_prompt_tokens", 0) for each in stats) / total if total else 0.0


def _ratios(
    first: list[list[Trace]], second: list[list[Trace]], metrics: Sequence[str], paired: bool
) -> list[MetricRatio]:
    """Name, both means, the ratio and its interval of each metric that both sides have."""
    rows = []
    for metric in metrics:
        a, b = ([fmean(trace.stats.get(metric, 0.0) for trace in batch) for batch in side] for side in (first, second))
        if any(a) and any(b):  # acceptance of plain decoding is no number to compare
            rows.append(
                MetricRatio(METRICS.get(metric, metric), fmean(a), fmean(b), *ratio_interval(a, b, paired=paired))
            )
    return rows


class Load(NamedTuple):
    """How one setting did with so many requests at once. Times in seconds."""

    concurrency: int
    tokens_per_second: float
    """Of all requests together, prefill included."""
    ttft_p50: float
    ttft_p95: float
    gap_p50: float
    """Between the tokens of one request; a round's tokens arrive together."""
    gap_p95: float


def concurrency_records(runs: Mapping[int, Any]) -> list[Load]:
    """Sum up runs by the number of requests that were submitted at once: ``{1: [gen], 4: gens, ...}``."""
    return [_load(number, traces_of(runs[number])) for number in sorted(runs)]


def _load(number: int, traces: list[Trace]) -> Load:
    tokens = sum(trace.stats.get("generated_tokens", 0) for trace in traces)
    wall = max((trace.rounds[-1].time_s for trace in traces if trace.rounds), default=0.0)
    first = [trace.stats["ttft_s"] for trace in traces if trace.rounds] or [0.0]
    gaps = [after.time_s - before.time_s for trace in traces for before, after in pairwise(trace.rounds)] or [0.0]
    p50, p95 = np.percentile(first, [50, 95])
    gap50, gap95 = np.percentile(gaps, [50, 95])
    return Load(number, tokens / wall if wall else 0.0, float(p50), float(p95), float(gap50), float(gap95))


def concurrency(runs: Mapping[int, Any] | Sequence[Load]) -> Figure:
    """Draw throughput and latency against the number of requests at once.

    ``runs`` are generations by that number, or what `concurrency_records` made of them.

    Example::

        concurrency({n: engine.map(prompts[:n], max_tokens=64) for n in (1, 2, 4, 8)})
    """
    loads = concurrency_records(runs) if isinstance(runs, Mapping) else list(runs)
    titles = ("tokens per second, all together", "latency in milliseconds (lower is better)")
    grid = make_subplots(rows=1, cols=2, horizontal_spacing=0.1, subplot_titles=titles)
    figure = Figure(grid, columns=Load._fields, rows=loads)
    figure.update_annotations(font={"size": 12, "color": TEXT})
    x = [load.concurrency for load in loads]
    speeds = [load.tokens_per_second for load in loads]
    if loads:
        ideal = [speeds[0] * n / x[0] for n in x]
        figure.add_scatter(
            x=x,
            y=ideal,
            name="without limit",
            mode="lines",
            hoverinfo="skip",
            row=1,
            col=1,
            line={"color": GREY, "dash": "dash", "width": 1},
        )
    figure.add_scatter(
        x=x,
        y=speeds,
        name="throughput",
        mode="lines+markers",
        line={"color": GREEN},
        row=1,
        col=1,
        marker={"size": 9},
        hovertemplate="%{x} at once: %{y:.1f} tok/s<extra></extra>",
    )
    _add_latency(figure, loads)
    figure.update_xaxes(title="requests at once", type="log", tickvals=x, ticktext=[str(n) for n in x])
    figure.update_yaxes(rangemode="tozero", row=1, col=1)
    figure.update_yaxes(type="log", dtick="D2", row=1, col=2)  # labels at 1, 2 and 5, which do not overlap
    figure.update_layout(
        title="Throughput and latency under load<br><sup>one measurement of each number of requests</sup>",
        height=420,
        legend={"y": -0.18, "yanchor": "top", "x": 0, "xanchor": "left"},
    )
    return figure


def _add_latency(figure: Figure, loads: Sequence[Load]) -> None:
    for name, title, color, dash, symbol in (
        ("ttft_p50", "first token, median", BLUE, "solid", "circle"),
        ("ttft_p95", "first token, 95th percentile", BLUE, "dot", "circle-open"),
        ("gap_p50", "between rounds, median", ORANGE, "solid", "square"),
        ("gap_p95", "between rounds, 95th percentile", ORANGE, "dot", "square-open"),
    ):
        figure.add_scatter(
            x=[load.concurrency for load in loads],
            y=[1000 * getattr(load, name) for load in loads],
            name=title,
            mode="lines+markers",
            line={"color": color, "dash": dash},
            marker={"symbol": symbol, "size": 8},
            row=1,
            col=2,
            hovertemplate=f"%{{x}} at once: %{{y:.1f}} ms<extra>{title}</extra>",
        )
