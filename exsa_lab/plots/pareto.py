"""Two metrics against each other, and what no other setting beats in both."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from exsa_lab.experiments import METRICS
from exsa_lab.pictures import BLUE, GREY
from exsa_lab.plots.figure import Figure, label

_MINIMISED = ("ttft_s", "failed")


def front(points: Sequence[tuple[float, float]], *, minimise: tuple[bool, bool]) -> list[int]:
    """Return the indexes of the points that no other one beats in both coordinates, by the first coordinate.

    Example: ``front([(1, 5), (2, 4), (0, 4)], minimise=(False, False))`` is ``[0, 1]``.
    """
    signs = [-1 if less else 1 for less in minimise]
    scored = [(signs[0] * x, signs[1] * y) for x, y in points]
    best, kept = float("-inf"), []
    for index in sorted(range(len(points)), key=lambda i: scored[i], reverse=True):
        if scored[index][1] > best:
            best = scored[index][1]
            kept.append(index)
    return sorted(kept, key=lambda i: points[i])


def pareto(rows: Sequence[Mapping[Any, Any]], x: str, y: str, *, names: Sequence[str] = ()) -> Figure:
    """Draw two metrics of many settings, those on the front joined.

    ``rows`` have both metrics and what was set; ``names`` are the columns to tell when a point is pointed at.
    """
    points = [(float(row[x]), float(row[y])) for row in rows]
    kept = front(points, minimise=(x in _MINIMISED, y in _MINIMISED))
    table = [
        (*(row.get(name) for name in names), *point, i in kept)
        for i, (row, point) in enumerate(zip(rows, points, strict=True))
    ]
    figure = Figure(columns=(*names, METRICS.get(x, x), METRICS.get(y, y), "on the front"), rows=table)
    texts = [label(", ".join(f"{name} {row.get(name)}" for name in names)) for row in rows]
    for title, indexes, style in (
        ("beaten in both", [i for i in range(len(points)) if i not in kept], {"color": GREY, "symbol": "circle-open"}),
        ("not beaten", kept, {"color": BLUE, "symbol": "diamond"}),
    ):
        figure.add_scatter(
            x=[points[i][0] for i in indexes],
            y=[points[i][1] for i in indexes],
            text=[texts[i] for i in indexes],
            name=title,
            mode="lines+markers" if indexes is kept else "markers",
            marker={**style, "size": 10},
            line={"shape": "hv", "width": 1, "dash": "dot"},
            hovertemplate="%{text}<br>%{x:.4g}, %{y:.4g}<extra></extra>",
        )
    figure.update_layout(title="Settings no other beats in both<br><sup>each point is one run</sup>")
    for name, update in ((x, figure.update_xaxes), (y, figure.update_yaxes)):
        better = "lower" if name in _MINIMISED else "higher"
        unit = " in seconds" if name == "ttft_s" else ""
        update(title=f"{METRICS.get(name, name)}{unit} ({better} is better)", rangemode="tozero")
    return figure
