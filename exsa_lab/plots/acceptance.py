"""How often drafts are accepted: by their place in the draft, by how sure the draft was, and by a setting."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from exsa_lab.events import Event, RejectedEvent, Rejection, Source, TokenEvent
from exsa_lab.pictures import BLUE, GREEN, GREY
from exsa_lab.plots.figure import COLORS, DASHES, TEXT, Figure, error_bars, label, traces_of, wilson
from exsa_lab.trace.trace import Trace


class Place(NamedTuple):
    """What became of the draft tokens at one place in the draft, counted from 1."""

    place: int
    drafted: int
    tested: int
    """Those before which everything was accepted."""
    accepted: int


def count_places(traces: Sequence[Trace]) -> list[Place]:
    """Count by place over all rounds of all traces."""
    rounds = [event for trace in traces for event in trace.rounds]
    longest = max((event.k for event in rounds), default=0)
    return [
        Place(
            place,
            sum(event.k >= place for event in rounds),
            sum(event.k >= place and event.accepted >= place - 1 for event in rounds),
            sum(event.accepted >= place for event in rounds),
        )
        for place in range(1, longest + 1)
    ]


def acceptance_by_position(source: Any) -> Figure:
    """Draw, for the first, second, ... token of a draft, how often it was accepted.

    Bars: of all that were drafted. Points: of those that were tested, that is, whose predecessors were accepted; with
    95 % intervals. Bars fall with the place even where the draft is equally good everywhere; the points then do not.
    """
    places = count_places(traces_of(source))
    x = [place.place for place in places]
    of_drafted = [place.accepted / place.drafted for place in places]
    of_tested = [place.accepted / place.tested if place.tested else 0.0 for place in places]
    intervals = [wilson(place.accepted, place.tested) for place in places]
    rows = [(*place, drafted, tested) for place, drafted, tested in zip(places, of_drafted, of_tested, strict=True)]
    columns = ("place", "drafted", "tested", "accepted", "of drafted", "of tested")
    figure = Figure(columns=columns, rows=rows)
    hover = [f"{p.accepted:,} of {p.drafted:,} drafted" for p in places]
    figure.add_bar(
        x=x,
        y=of_drafted,
        name="of all drafted",
        marker={"color": GREEN, "opacity": 0.55},
        text=hover,
        textposition="none",
        hovertemplate="place %{x}: %{y:.1%}<br>%{text}<extra></extra>",
    )
    hover = [f"{p.accepted:,} of {p.tested:,} tested" for p in places]
    figure.add_scatter(
        x=x,
        y=of_tested,
        name="of those tested",
        mode="markers",
        error_y=error_bars(of_tested, intervals),
        marker={"color": BLUE, "size": 9, "symbol": "diamond"},
        text=hover,
        hovertemplate="place %{x}: %{y:.1%}<br>%{text}<extra></extra>",
    )
    figure.update_layout(title="Acceptance by place in the draft", bargap=0.35)
    figure.update_xaxes(title="place in the draft", dtick=1)
    figure.update_yaxes(title="accepted", range=[0, 1.02], tickformat=".0%")
    return figure if places else _nothing(figure, "Nothing was drafted.")


def acceptance_against(
    runs: Mapping[float, Any],
    expected: Mapping[str, Mapping[float, float]] | None = None,
    *,
    setting: str = "temperature",
) -> Figure:
    """Draw how often tested draft tokens were accepted against a setting, with 95 % intervals.

    ``runs`` are generations (or traces) by the setting's value; ``expected`` are curves to compare with, by name.

    Example::

        acceptance_against({t: engine.map(prompts, temperature=t, draft_length=3) for t in (0.0, 0.5, 1.0)})
    """
    curves = expected or {}
    counted = {value: count_places(traces_of(runs[value])) for value in runs}
    points = {
        value: (sum(place.tested for place in places), sum(place.accepted for place in places))
        for value, places in sorted(counted.items())
        if places
    }
    rows = []
    for value in sorted({*points, *(x for curve in curves.values() for x in curve)}):
        tested, accepted = points.get(value, (None, None))
        share = accepted / tested if accepted is not None and tested else None
        rows.append((value, tested, accepted, share, *(curve.get(value) for curve in curves.values())))
    figure = Figure(columns=(setting, "tested", "accepted", "share", *curves), rows=rows)
    for index, (name, curve) in enumerate(curves.items()):
        figure.add_scatter(
            x=list(curve),
            y=list(curve.values()),
            name=label(name),
            mode="lines",
            line={"color": COLORS[(index + 1) % len(COLORS)], "dash": DASHES[index % len(DASHES)]},
        )
    if points:
        _add_shares(figure, points)
    figure.update_layout(title=f"Acceptance against {label(setting)}")
    figure.update_layout(legend={"y": -0.2, "yanchor": "top", "x": 0, "xanchor": "left"})
    figure.update_xaxes(title=label(setting), rangemode="tozero")
    figure.update_yaxes(title="accepted of tested", range=[0, 1.02], tickformat=".0%")
    return figure if rows else _nothing(figure, "Nothing was drafted.")


def _add_shares(figure: Figure, points: Mapping[float, tuple[int, int]]) -> None:
    """Add accepted of tested, by a setting's value, with intervals."""
    shares = [accepted / tested for tested, accepted in points.values()]
    figure.add_scatter(
        x=list(points),
        y=shares,
        name="measured",
        mode="markers",
        cliponaxis=False,
        error_y=error_bars(shares, [wilson(accepted, tested) for tested, accepted in points.values()]),
        marker={"color": BLUE, "size": 9, "symbol": "diamond"},
        text=[f"{accepted:,} of {tested:,} tested" for tested, accepted in points.values()],
        hovertemplate="%{x}: %{y:.1%}<br>%{text}<extra></extra>",
    )


class Bin(NamedTuple):
    """Tested draft tokens whose confidence lay in one interval."""

    confidence: float
    """Their mean."""
    tested: int
    accepted: int


def bin_confidences(traces: Sequence[Trace], bins: int) -> list[Bin]:
    """Group the model's tested draft tokens by the draft's probability of them; empty bins are left out."""
    groups: list[list[tuple[float, bool]]] = [[] for _ in range(bins)]
    for trace in traces:
        for event in trace.events:
            if (q := _tested_confidence(event)) is not None:
                groups[min(bins - 1, int(q * bins))].append((q, isinstance(event, TokenEvent)))
    return [
        Bin(sum(q for q, _ in group) / len(group), len(group), sum(hit for _, hit in group))
        for group in groups
        if group
    ]


def _tested_confidence(event: Event) -> float | None:
    """The draft's probability of a token that was accepted or refused; looked-up tokens have none."""
    match event:
        case (
            TokenEvent(source=Source.ACCEPTED, drafter="model")
            | RejectedEvent(reason=Rejection.REFUSED, drafter="model")
        ):
            return event.q
    return None


def calibration(source: Any, *, bins: int = 10) -> Figure:
    """Draw how often draft tokens were accepted against how sure the draft was of them.

    A draft whose confidence can be taken at its word lies on the dashed line. Above it, it is better than it thinks;
    either way, whoever decides how far to draft has to use the measured curve.
    """
    found = bin_confidences(traces_of(source), bins)
    shares = [group.accepted / group.tested for group in found]
    intervals = [wilson(group.accepted, group.tested) for group in found]
    rows = [(*group, share) for group, share in zip(found, shares, strict=True)]
    figure = Figure(columns=("mean confidence", "tested", "accepted", "share"), rows=rows)
    figure.add_scatter(
        x=[0, 1],
        y=[0, 1],
        mode="lines",
        name="confidence = acceptance",
        hoverinfo="skip",
        line={"color": GREY, "dash": "dash", "width": 1.5},
    )
    most = max((group.tested for group in found), default=1)
    figure.add_scatter(
        x=[group.confidence for group in found],
        y=shares,
        mode="lines+markers",
        name="measured",
        error_y=error_bars(shares, intervals),
        line={"color": GREEN},
        marker={"size": [7 + 13 * (group.tested / most) ** 0.5 for group in found]},
        text=[f"{group.accepted:,} of {group.tested:,}" for group in found],
        hovertemplate="confidence %{x:.2f}: %{y:.1%} accepted<br>%{text}<extra></extra>",
    )
    figure.update_layout(title="Acceptance against the draft's confidence")
    figure.update_xaxes(title="the draft's probability of its token", range=[0, 1.02])
    figure.update_yaxes(title="accepted", range=[0, 1.04], tickformat=".0%")
    return figure if found else _nothing(figure, "No draft model's tokens were tested.")


def _nothing(figure: Figure, why: str) -> Figure:
    """Say in the middle of an empty figure why it is empty."""
    figure.add_annotation(text=why, showarrow=False, x=0.5, y=0.5, xref="paper", yref="paper", font={"color": TEXT})
    return figure
