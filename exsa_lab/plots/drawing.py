"""A plotly figure as an SVG, for whatever runs no script: nbconvert's pages, mails, a notebook nobody trusts yet.

It draws what the figures of this package are made of: lines, markers, bars, contours, error bars, several axes, lines
and notes across. Plotly's own export would need a browser.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from html import escape, unescape
from typing import Any

from exsa_lab.pictures import GREY, GROUND, INK
from exsa_lab.plots.axes import Axis
from exsa_lab.plots.marks import Marks, color_at, nth

WIDTH = 760
_LEFT, _RIGHT, _TOP, _BOTTOM, _LINE = 64, 24, 58, 52, 16


def svg(figure: Any) -> str:
    """Return the figure as an SVG document without script, every text escaped."""
    return _Drawing(figure.to_plotly_json()).svg()


class _Drawing:
    def __init__(self, figure: dict[str, Any]) -> None:
        self._layout = figure["layout"]
        self._traces = [trace for trace in figure["data"] if trace.get("visible") not in (False, "legendonly")]
        self._height = float(self._layout.get("height") or 380)
        self._names = self._legend()
        self._marks = Marks()
        bottom = _BOTTOM + _LINE * (1 + sum(len(name) for name, *_ in self._names) // 90 if self._names else 0)
        self._box = (_LEFT + self._room_for_categories(), _TOP, WIDTH - _RIGHT, self._height - bottom)
        self._axes = {number: self._axis_pair(number) for number in self._numbers()}

    def svg(self) -> str:
        body = [*self._frame(), *self._shapes(), *self._draw_traces(), *self._annotations(), *self._legend_lines()]
        return (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {self._height:.0f}" width="{WIDTH}">'
            f"<defs>{self._marks.definitions()}</defs>{GROUND}{''.join(body)}</svg>"
        )

    # Axes

    def _numbers(self) -> list[str]:
        return list(dict.fromkeys(trace.get("xaxis", "x")[1:] for trace in self._traces)) or [""]

    def _room_for_categories(self) -> int:
        """Pixels that long names on the first y axis need beside the usual margin."""
        names = [v for trace in self._traces for v in _values(trace, "y") if isinstance(v, str)]
        return max([0, *(6 * len(name) - 40 for name in names)])

    def _axis_pair(self, number: str) -> tuple[Axis, Axis]:
        mine = [trace for trace in self._traces if trace.get("xaxis", "x")[1:] == number]
        left, top, right, bottom = self._box
        x, y = (self._layout.get(f"{name}axis{number}") or {} for name in "xy")
        (x0, x1), (y0, y1) = x.get("domain") or (0, 1), y.get("domain") or (0, 1)
        across = (left + x0 * (right - left), left + x1 * (right - left))
        upwards = (bottom - y0 * (bottom - top), bottom - y1 * (bottom - top))
        xs = [value for trace in mine for value in _with_errors(trace, "x")]
        ys = [value for trace in mine for value in _with_errors(trace, "y")]
        if any(trace["type"] == "bar" for trace in mine):
            ys += [0.0, *self._stacked(mine)]
            if xs and not isinstance(xs[0], str):
                xs += [min(xs) - 0.5, max(xs) + 0.5]
        return Axis(x, xs, across), Axis(y, ys, upwards)

    def _stacked(self, traces: Sequence[dict[str, Any]]) -> list[float]:
        if self._layout.get("barmode") != "stack":
            return []
        heights: dict[Any, float] = {}
        for trace in traces:
            for x, y in zip(_values(trace, "x"), _values(trace, "y"), strict=False):
                heights[x] = heights.get(x, 0.0) + float(y or 0)
        return list(heights.values())

    def _frame(self) -> Iterator[str]:
        title = str((self._layout.get("title") or {}).get("text") or "").split("<br>")
        for index, line in enumerate(title):
            weight = ' style="font-weight:600;font-size:13px"' if index == 0 else ""
            yield f'<text x="{_LEFT}" y="{18 + index * _LINE}"{weight}>{_plain(line)}</text>'
        for x, y in self._axes.values():
            (left, right), (bottom, top) = x.pixels, y.pixels
            for at, text in y.ticks():
                yield f'<path d="M{left:.1f} {at:.1f}H{right:.1f}" stroke="{GREY}" opacity=".3"/>'
                yield _text(left - 6, at + 4, text, "end")
            for at, text in _thinned(x.ticks()):
                yield f'<line x1="{at:.1f}" x2="{at:.1f}" y1="{bottom:.1f}" y2="{bottom + 4:.1f}" stroke="{GREY}"/>'
                yield _text(at, bottom + 16, text, "middle")
            yield f'<line x1="{left:.1f}" x2="{right:.1f}" y1="{bottom:.1f}" y2="{bottom:.1f}" stroke="{GREY}"/>'
            yield _text((left + right) / 2, bottom + 33, _title(x.layout), "middle")
            middle = (bottom + top) / 2
            yield (
                f'<text transform="translate({left - 46:.1f} {middle:.1f}) rotate(-90)" text-anchor="middle">'
                f"{_plain(_title(y.layout))}</text>"
            )

    def _shapes(self) -> Iterator[str]:
        x, y = next(iter(self._axes.values()))
        for shape in self._layout.get("shapes") or ():
            ends = []
            for key, axis in (("x0", x), ("x1", x), ("y0", y), ("y1", y)):
                reference = str(shape.get(f"{key[0]}ref", key[0]))
                is_share = reference == "paper" or reference.endswith("domain")
                low, high = axis.pixels
                ends.append(low + shape[key] * (high - low) if is_share else axis.pixel(shape[key]))
            x0, x1, y0, y1 = ends
            yield f'<path d="M{x0:.1f} {y0:.1f}L{x1:.1f} {y1:.1f}" {self._marks.stroke(shape.get("line") or {})}/>'

    def _annotations(self) -> Iterator[str]:
        x, y = next(iter(self._axes.values()))
        left, top, right, bottom = self._box
        for note in self._layout.get("annotations") or ():
            is_paper = note.get("xref") == "paper"
            at_x = left + note["x"] * (right - left) if is_paper else x.pixel(note["x"])
            at_y = bottom - note["y"] * (bottom - top) if note.get("yref") == "paper" else y.pixel(note["y"])
            lift = float(note.get("ay") or -8)
            if note.get("showarrow", True) and not is_paper:
                yield f'<path d="M{at_x:.1f} {at_y:.1f}v{lift + 4:.1f}" stroke="{INK}"/>'
            yield _text(at_x, at_y + lift + (4 if is_paper else 0), note.get("text", ""), "middle")

    # Traces

    def _draw_traces(self) -> Iterator[str]:
        stacked: dict[Any, float] = {}
        bars = [trace for trace in self._traces if trace["type"] == "bar"]
        for trace in self._traces:
            x, y = self._axes[trace.get("xaxis", "x")[1:]]
            if trace["type"] == "bar":
                yield from self._bars(trace, bars, stacked, x, y)
            elif trace["type"] == "contour":
                yield from self._contour(trace, x, y)
            else:
                yield from self._scatter(trace, x, y)

    def _bars(
        self, trace: dict[str, Any], bars: list[dict[str, Any]], stacked: dict[Any, float], x: Axis, y: Axis
    ) -> Iterator[str]:
        is_stack = self._layout.get("barmode") == "stack"
        groups = list(dict.fromkeys(str(bar.get("offsetgroup", index)) for index, bar in enumerate(bars)))
        group = groups.index(str(trace.get("offsetgroup", bars.index(trace))))
        count = 1 if is_stack else len(groups)
        width = max(1.0, x.unit * (1 - float(self._layout.get("bargap", 0.2)))) / count
        own = trace.get("width")
        bases = _values(trace, "base") or [0.0] * len(_values(trace, "x"))
        if len(bases) == 1:
            bases *= len(_values(trace, "x"))
        for index, (at, height) in enumerate(zip(_values(trace, "x"), _values(trace, "y"), strict=False)):
            base = float(stacked.get(at, 0.0) if is_stack else bases[index] or 0.0)
            stacked[at] = base + float(height or 0)
            wide = x.unit * float(nth(own, index)) if own is not None else width
            left = x.pixel(at) - wide * count / 2 + wide * (0 if is_stack else group)
            top, bottom = sorted((y.pixel(base + float(height or 0)), y.pixel(base)))
            style = self._marks.fill(trace.get("marker") or {}, index)
            yield f'<rect x="{left:.1f}" y="{top:.1f}" width="{wide:.1f}" height="{bottom - top:.1f}" {style}/>'

    def _scatter(self, trace: dict[str, Any], x: Axis, y: Axis) -> Iterator[str]:
        mode = trace.get("mode") or "lines"
        xs, ys = _values(trace, "x"), _values(trace, "y")
        points = [(x.pixel(a), y.pixel(b)) for a, b in zip(xs, ys, strict=False) if a is not None and b is not None]
        if "lines" in mode and points:
            path = "M" + "L".join(f"{a:.1f} {b:.1f}" for a, b in points)
            yield f'<path d="{path}" fill="none" {self._marks.stroke(trace.get("line") or {})}/>'
        for name, axis in (("x", x), ("y", y)):
            yield from self._errors(trace, name, axis, points)
        if "markers" in mode:
            yield from (self._marks.point(_marker(trace), i, *at) for i, at in enumerate(points))
        if "text" in mode:
            texts = _values(trace, "text")
            yield from (_text(a, b - 12, str(texts[i]), "middle") for i, (a, b) in enumerate(points) if i < len(texts))

    def _errors(self, trace: dict[str, Any], name: str, axis: Axis, points: list[tuple[float, float]]) -> Iterator[str]:
        error = trace.get(f"error_{name}")
        if not error:
            return
        values, more, less = _values(trace, name), _values(error, "array"), _values(error, "arrayminus")
        for (a, b), value, up, down in zip(points, values, more, less or more, strict=False):
            low, high = axis.pixel(value - down), axis.pixel(value + up)
            path = f"M{low:.1f} {b:.1f}H{high:.1f}" if name == "x" else f"M{a:.1f} {low:.1f}V{high:.1f}"
            yield f'<path d="{path}" stroke="{INK}" stroke-width="1.2"/>'

    def _contour(self, trace: dict[str, Any], x: Axis, y: Axis) -> Iterator[str]:
        xs, ys, rows = _values(trace, "x"), _values(trace, "y"), trace["z"]
        if (trace.get("contours") or {}).get("coloring") == "none":
            level = float(trace["contours"]["start"])
            crossings = [(_crossing(xs, row, level), at) for at, row in zip(ys, rows, strict=True)]
            path = "L".join(f"{x.pixel(a):.1f} {y.pixel(b):.1f}" for a, b in crossings if a is not None)
            yield f'<path d="M{path}" fill="none" {self._marks.stroke(trace.get("line") or {})}/>' if path else ""
            return
        low, high = float(trace["zmin"]), float(trace["zmax"])
        wide, tall = abs(x.pixel(xs[1]) - x.pixel(xs[0])), abs(y.pixel(ys[1]) - y.pixel(ys[0])) if len(ys) > 1 else 20.0
        for at, row in zip(ys, rows, strict=True):
            for value_x, value in zip(xs, row, strict=True):
                color = color_at(trace["colorscale"], (float(value) - low) / (high - low))
                left, top = x.pixel(value_x) - wide / 2, y.pixel(at) - tall / 2
                place = f'x="{left:.1f}" y="{top:.1f}" width="{wide + 0.4:.1f}" height="{tall:.1f}"'
                yield f'<rect {place} fill="{color}"/>'

    # Legend

    def _legend(self) -> list[tuple[str, dict[str, Any]]]:
        named = [(str(trace["name"]), trace) for trace in self._traces if trace.get("name")]
        return [(name, trace) for name, trace in named if trace.get("showlegend") is not False]

    def _legend_lines(self) -> Iterator[str]:
        left, bottom = float(_LEFT), self._box[3] + 50
        for name, trace in self._names:
            text = _plain(name)
            width = 26 + 6.2 * len(unescape(text))
            if left + width > WIDTH - 8 and left > _LEFT:
                left, bottom = float(_LEFT), bottom + _LINE
            marker = _marker(trace)
            if trace["type"] == "bar":
                fill = self._marks.fill(marker, 0)
                yield f'<rect x="{left:.1f}" y="{bottom - 9:.1f}" width="12" height="10" {fill}/>'
            else:
                if "lines" in (trace.get("mode") or "lines"):
                    stroke = self._marks.stroke(trace.get("line") or {})
                    yield f'<path d="M{left:.1f} {bottom - 4:.1f}h16" {stroke}/>'
                if "markers" in (trace.get("mode") or ""):
                    yield self._marks.point(marker, 0, left + 8, bottom - 4)
            yield f'<text x="{left + 20:.1f}" y="{bottom:.1f}">{text}</text>'
            left += width


def _values(holder: dict[str, Any], name: str) -> list[Any]:
    """A list, a tuple, an array or one value as a list."""
    value = holder.get(name)
    if value is None:
        return []
    return list(value) if hasattr(value, "__len__") and not isinstance(value, str) else [value]


def _marker(trace: dict[str, Any]) -> dict[str, Any]:
    """How points look: without a colour of their own as the line does."""
    return {"color": (trace.get("line") or {}).get("color"), **(trace.get("marker") or {})}


def _with_errors(trace: dict[str, Any], name: str) -> list[Any]:
    values = _values(trace, name)
    error = trace.get(f"error_{name}") or {}
    more, less = _values(error, "array"), _values(error, "arrayminus")
    ends = [v + e for v, e in zip(values, more, strict=False)] + [v - e for v, e in zip(values, less, strict=False)]
    bases = [a + b for a, b in zip(values, _values(trace, "base"), strict=False)] if name == "y" else []
    return values + ends + bases


def _crossing(xs: Sequence[float], row: Sequence[float], level: float) -> float | None:
    for i in range(1, len(xs)):
        before, after = row[i - 1], row[i]
        if before < level <= after:
            return xs[i - 1] + (level - before) / (after - before) * (xs[i] - xs[i - 1])
    return None


def _thinned(ticks: list[tuple[float, str]]) -> list[tuple[float, str]]:
    """Leave labels out that would cover their neighbours; cut those of many categories."""
    kept: list[tuple[float, str]] = []
    for at, text in ticks:
        short = text if len(text) <= 16 else f"{text[:15]}…"
        if not kept or at - kept[-1][0] > 3.2 * (len(short) + len(kept[-1][1])) + 6:
            kept.append((at, short))
    return kept


def _title(layout: dict[str, Any]) -> str:
    return str((layout.get("title") or {}).get("text") or "")


def _plain(text: str) -> str:
    """A label of plotly's, tags taken away, as SVG text."""
    return escape(unescape(re.sub(r"<[^>]*>", "", text)), quote=False)


def _text(x: float, y: float, text: str, anchor: str) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{_plain(text)}</text>' if text else ""
