"""What all figures share: how they look on light and dark pages, and what a saved notebook keeps of them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from html import escape, unescape
from typing import Any

import plotly.graph_objects as go

from exsa_lab.errors import ConfigError
from exsa_lab.pictures import BLUE, GREEN, GREY, INK, ORANGE, PAPER, as_image
from exsa_lab.plots.drawing import svg
from exsa_lab.trace.trace import Trace
from exsa_lab.widgets.rows import visible

# A figure cannot know the page's theme, and no text reads well on white and on near-black: so it brings its paper.
# Nothing relies on colours alone: bars differ in pattern, lines in dash, points in shape.
TEXT = INK
GRID = "rgba(128,128,128,.22)"
PURPLE = "#a066c9"
COLORS = (BLUE, ORANGE, GREEN, PURPLE, GREY)
DASHES = ("solid", "dash", "dot", "dashdot", "longdash")
SYMBOLS = ("circle", "square", "diamond", "triangle-up", "cross")

PLOTLY = "application/vnd.plotly.v1+json"
MAX_TABLE_ROWS = 60

_AXIS = {"gridcolor": GRID, "zerolinecolor": GRID, "linecolor": GRID, "automargin": True, "title": {"standoff": 8}}
TEMPLATE = go.layout.Template(
    layout={
        "paper_bgcolor": PAPER,
        "plot_bgcolor": PAPER,
        "font": {"color": TEXT, "size": 12, "family": "system-ui, sans-serif"},
        "colorway": list(COLORS),
        "xaxis": _AXIS,
        "yaxis": _AXIS,
        "margin": {"l": 60, "r": 20, "t": 64, "b": 50},
        "title": {"x": 0, "xref": "paper", "xanchor": "left", "font": {"size": 14}},
        "legend": {"orientation": "h", "y": 1.0, "yanchor": "bottom", "x": 1, "xanchor": "right"},
        "hovermode": "closest",
        "height": 380,
    }
)


class Figure(go.Figure):  # type: ignore[misc]  # plotly is untyped here
    """A plotly figure that JupyterLab draws offline, and that other readers see as a picture and a table.

    Plotly's own way for notebooks may store its 5 MB of script, or a link to a server, in the notebook. This stores
    the figure's data, and a picture and a table without script for whatever cannot draw it.
    """

    # Plotly would show itself here, by its own default renderer.
    _ipython_display_ = None

    def __init__(
        self,
        data: Any = None,
        layout: Any = None,
        *,
        columns: Sequence[str] = (),
        rows: Iterable[Sequence[Any]] = (),
        **kwargs: Any,
    ) -> None:
        """``columns`` and ``rows`` are the numbers behind the figure, for those who cannot see it drawn."""
        super().__init__(data, layout, **kwargs)
        self.update_layout(template=TEMPLATE)
        self.__dict__["_columns"] = tuple(columns)
        self.__dict__["_rows"] = tuple(tuple(row) for row in rows)

    def _repr_mimebundle_(self, *_args: object, **_kwargs: object) -> dict[str, Any]:
        return {PLOTLY: json.loads(self.to_json()), "text/html": self.static_html(), "text/plain": self.table_text()}

    def static_html(self) -> str:
        """Return the figure for pages that run no script: a picture, and its numbers folded away beneath."""
        numbers = f"<details><summary>The same as numbers</summary>{self.table_html()}</details>"
        return as_image(svg(self), self._title()) + numbers

    def table_html(self) -> str:
        """Return title and numbers as HTML without script, every text escaped."""
        head = "".join(f"<th>{escape(name)}</th>" for name in self._columns)
        shown = self._rows[:MAX_TABLE_ROWS]
        body = "".join("<tr>" + "".join(f"<td>{escape(_cell(v))}</td>" for v in row) + "</tr>" for row in shown)
        rest = f"<p>{len(self._rows) - len(shown)} more rows</p>" if len(shown) < len(self._rows) else ""
        return f"<p><b>{escape(self._title())}</b></p><table><tr>{head}</tr>{body}</table>{rest}"

    def table_text(self) -> str:
        """Return title and numbers as text."""
        table = [self._columns, *([_cell(v) for v in row] for row in self._rows[:MAX_TABLE_ROWS])]
        widths = [max(len(row[i]) for row in table) for i in range(len(self._columns))]
        lines = ["  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)) for row in table]
        return "\n".join([self._title(), *lines])

    def _title(self) -> str:
        return unescape(str(self.layout.title.text or "Figure").split("<br>")[0])


def label(text: object) -> str:
    """Return a text that plotly shows as it is: it would read tags in it, and follow links."""
    return escape(visible(str(text)), quote=False)


def traces_of(source: Any) -> list[Trace]:
    """Return the traces of a trace, a generation, or several of them.

    Raises ConfigError where something else is given.
    """
    items = source if isinstance(source, Iterable) and not isinstance(source, str | Trace) else [source]
    traces = [item if isinstance(item, Trace) else getattr(item, "trace", None) for item in items]
    if not all(isinstance(trace, Trace) for trace in traces):
        raise ConfigError("this is neither a trace nor a generation.", hint="Give gen, gen.trace or a list of them.")
    return [trace for trace in traces if trace is not None]


def percent(share: float) -> str:
    return f"{share:.0%}"


def wilson(hits: float, total: float, z: float = 1.96) -> tuple[float, float]:
    """Return the 95 % confidence interval of a share (Wilson 1927), which stays within 0 and 1 and works for few."""
    if not total:
        return 0.0, 1.0
    share = hits / total
    centre = (share + z * z / (2 * total)) / (1 + z * z / total)
    half = z / (1 + z * z / total) * (share * (1 - share) / total + z * z / (4 * total * total)) ** 0.5
    return max(0.0, centre - half), min(1.0, centre + half)


def error_bars(values: Sequence[float], intervals: Sequence[tuple[float, float]]) -> dict[str, Any]:
    """Return plotly's error bars from values and their intervals."""
    return {
        "type": "data",
        "symmetric": False,
        "array": [high - value for value, (_, high) in zip(values, intervals, strict=True)],
        "arrayminus": [value - low for value, (low, _) in zip(values, intervals, strict=True)],
        "color": TEXT,
        "thickness": 1.2,
        "width": 3,
    }


def _cell(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.4g}" if value == value else ""
    return "" if value is None else visible(str(value))
