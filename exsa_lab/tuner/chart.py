"""The tuner's live chart: tokens over time, one line a run."""

from __future__ import annotations

from typing import Any

import plotly.graph_objects as go

from exsa_lab.experiments import Experiment
from exsa_lab.plots.figure import COLORS, DASHES, TEMPLATE

MAX_LINES = 8
MAX_POINTS = 240


class LiveChart:
    """Grows while a run goes on; earlier runs stay, the oldest are dropped. Its figure is a plotly FigureWidget."""

    def __init__(self) -> None:
        self.figure: Any = go.FigureWidget(layout={"template": TEMPLATE, "height": 300, "showlegend": True})
        self.figure.update_layout(title="Tokens over time")
        self.figure.add_annotation(
            text="A run appears here.", showarrow=False, x=0.5, y=0.5, xref="paper", yref="paper", font={"size": 13}
        )
        self.figure.update_xaxes(title="seconds", rangemode="tozero")
        self.figure.update_yaxes(title="tokens", rangemode="tozero")
        self._points: list[tuple[float, int]] = []

    def begin(self, number: int) -> None:
        """Start the line of a run."""
        self._points = [(0.0, 0)]
        self.figure.layout.annotations = ()
        if len(self.figure.data) >= MAX_LINES:
            self.figure.data = self.figure.data[1 - MAX_LINES :]
        style = {"color": COLORS[(number - 1) % len(COLORS)], "dash": DASHES[(number - 1) // len(COLORS) % len(DASHES)]}
        self.figure.add_scatter(x=[0], y=[0], name=f"run {number}", mode="lines", line=style)

    def update(self, run: Experiment) -> None:
        """Draw where the run is now."""
        self._points.append((run.seconds, sum(len(gen.tokens) for gen in run.generations)))
        if len(self._points) > MAX_POINTS:  # every other one will do; the first and the newest stay
            self._points = [*self._points[:-1:2], self._points[-1]]
        x, y = zip(*self._points, strict=True)
        with self.figure.batch_update():
            self.figure.data[-1].x, self.figure.data[-1].y = x, y
