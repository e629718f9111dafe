"""Runs against each other: two settings with intervals, and one setting under growing load."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
from plotly.subplots import make_subplots

from exsa_lab.errors import ConfigError
from exsa_lab.plots.figure import BLUE, GREEN, GREY, ORANGE, TEXT, Figure, error_bars, label, traces_of
from exsa_lab.trace.trace import Trace

METRICS: dict[str, str] = {
    "tokens_per_second": "tokens per second",
    "ttft_s": "time to first token",
    "mean_tokens_per_round": "tokens per round",
    "acceptance_rate": "acceptance",
}


def bootstrap_ratio(
    a: Sequence[float], b: Sequence[float], *, paired: bool = False, samples: int = 4000, seed: int = 0
) -> tuple[float, float, float]:
    """Return the ratio of means b / a, and its 95 % interval by percentile bootstrap (Efron 1979).

    ``paired`` draws both of a pair together: right where the same prompts were run twice, and much sharper. Raises
    ValueError where a sample is empty, or a pair is incomplete.
    """
    x, y = np.asarray(a, float), np.asarray(b, float)
    if not len(x) or not len(y) or (paired and len(x) != len(y)):
        raise ValueError(f"Samples of {len(x)} and {len(y)} cannot be compared{' in pairs' if paired else ''}.")
    random = np.random.default_rng(seed)
    first = random.integers(len(x), size=(samples, len(x)))
    second = first if paired else random.integers(len(y), size=(samples, len(y)))
    with np.errstate(divide="ignore", invalid="ignore"):
        ratios = y[second].mean(axis=1) / x[first].mean(axis=1)
        centre = float(y.mean() / x.mean())
    low, high = np.nanpercentile(ratios, [2.5, 97.5]) if np.isfinite(ratios).any() else (np.nan, np.nan)
    return centre, float(low), float(high)


def compare(
    a: Any,
    b: Any,
    *,
    names: tuple[str, str] = ("A", "B"),
    metrics: Sequence[str] = tuple(METRICS),
    paired: bool | None = None,
) -> Figure:
    """Draw how B compares with A: the ratio of each metric's means, with 95 % bootstrap intervals.

    ``a`` and ``b`` are runs of two settings. They are compared in pairs where both have the same prompts in the same
    order (or ``paired`` says so). An interval that contains 1 means: no difference shown.
    """
    first, second = traces_of(a), traces_of(b)
    if not first or not second:
        raise ConfigError("there is nothing to compare.", hint="Give at least one finished generation on each side.")
    if paired is None:
        paired = [trace.prompt for trace in first] == [trace.prompt for trace in second]
    rows = _ratios(first, second, metrics, paired)
    figure = Figure(columns=("metric", *names, "ratio", "low", "high"), rows=rows)
    ratios = [row[3] for row in rows]
    is_open = [row[4] <= 1 <= row[5] for row in rows]
    name_a, name_b = label(names[0]), label(names[1])
    figure.add_vline(x=1, line={"color": GREY, "dash": "dash", "width": 1.5})
    figure.add_scatter(
        x=ratios,
        y=[label(row[0]) for row in rows],
        mode="markers+text",
        cliponaxis=False,
        showlegend=False,
        textposition="top center",
        text=[f"{row[3]:.2f} ({row[4]:.2f} to {row[5]:.2f})" for row in rows],
        error_x=error_bars(ratios, [(row[4], row[5]) for row in rows]),
        marker={
            "size": 11,
            "color": [GREY if unclear else BLUE for unclear in is_open],
            "symbol": ["circle-open" if unclear else "circle" for unclear in is_open],
        },
        customdata=[[row[1], row[2]] for row in rows],
        hovertemplate=f"%{{y}}: {name_a} %{{customdata[0]:.4g}}, {name_b} %{{customdata[1]:.4g}}<extra></extra>",
    )
    kind = "paired" if paired else "unpaired"
    runs = f"{len(first)} and {len(second)} runs, {kind}, 95 % bootstrap intervals (open: no difference shown)"
    figure.update_layout(title=f"{name_b} against {name_a}<br><sup>{runs}</sup>", height=140 + 62 * max(1, len(rows)))
    ends = [1.0, *(end for row in rows for end in row[3:] if np.isfinite(end))]
    room = 0.25 * max(0.2, max(ends) - min(ends))
    figure.update_xaxes(title=f"{name_b} / {name_a}", range=[max(0.0, min(ends) - room), max(ends) + room])
    figure.update_yaxes(showgrid=False, range=[len(rows) - 0.4, -0.7])
    return figure


def _ratios(
    first: list[Trace], second: list[Trace], metrics: Sequence[str], paired: bool
) -> list[tuple[str, float, float, float, float, float]]:
    """Name, both means, the ratio and its interval of each metric that both sides have."""
    rows = []
    for metric in metrics:
        a, b = ([trace.stats.get(metric, 0.0) for trace in traces] for traces in (first, second))
        if any(a) and any(b):  # acceptance of plain decoding is no number to compare
            means = float(np.mean(a)), float(np.mean(b))
            rows.append((METRICS.get(metric, metric), *means, *bootstrap_ratio(a, b, paired=paired)))
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
    titles = ("tokens per second, all together", "latency in milliseconds")
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
    figure.update_yaxes(type="log", row=1, col=2)
    figure.update_layout(
        title="Throughput and latency under load",
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
