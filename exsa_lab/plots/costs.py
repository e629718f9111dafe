"""What a step costs on this machine, and where drafting pays."""

from __future__ import annotations

from typing import Any

from plotly.subplots import make_subplots

from exsa_lab.costs.model import CostModel
from exsa_lab.events import RoundEvent
from exsa_lab.pictures import BLUE, GREEN, GREY, ORANGE
from exsa_lab.plots.acceptance import count_places
from exsa_lab.plots.figure import PURPLE, TEXT, Figure, label, traces_of
from exsa_lab.scatter import of_costs
from exsa_lab.trace.break_even import break_even_acceptance, round_cost, speed_up


def cost_curve(costs: CostModel, source: Any = (), *, longest: int = 8, uses_model: bool | None = None) -> Figure:
    """Draw the measured cost of a decode against its tokens, and the acceptance each draft length needs to pay.

    Left: the target's decode of n tokens in single steps; the dashed line is what a draft that is always right would
    gain, so drafting can pay only below it. Points are the rounds of the runs given. Right: acceptance needed for
    k = 1, 2, ... to break even, and the acceptance these runs had, if they drafted. ``uses_model`` says whether
    drafts cost what the draft model costs; by default they do where there is one.
    """
    traces = traces_of(source)
    uses_model = costs.draft is not None if uses_model is None else uses_model
    needed = [(k, break_even_acceptance(costs, k, uses_model=uses_model)) for k in range(1, longest + 1)]
    figure = _two_panels(
        ("cost of one decode (lower is better)", "acceptance a draft needs to pay"),
        [(k, round_cost(costs, k, uses_model=uses_model), 1.0 + k, acceptance) for k, acceptance in needed],
    )
    _add_curve(figure, costs, [event for trace in traces for event in trace.rounds], max(2 * longest, 16))
    _add_needed(figure, needed, traces)
    single = 1000 * costs.step_seconds(1)
    sure = f"<br><sup>{of_costs(costs.scatter)}</sup>" if costs.scatter else ""
    title = f"Cost of a step on this machine (a single one takes {single:.2f} ms){sure}"
    figure.update_layout(title=title, height=420)
    return figure


def _add_curve(figure: Figure, costs: CostModel, rounds: list[RoundEvent], limit: int) -> None:
    single = costs.step_seconds(1)
    sizes = list(range(1, limit + 1))
    relative = [costs.step_seconds(n) / single for n in sizes]
    figure.add_scatter(
        x=sizes,
        y=relative,
        name="measured cost",
        mode="lines",
        line={"color": BLUE, "width": 2.5},
        hovertemplate="%{x} tokens: %{y:.2f} single steps<extra></extra>",
        row=1,
        col=1,
    )
    figure.add_scatter(
        x=sizes,
        y=sizes,
        name="gain of a perfect draft",
        mode="lines",
        hoverinfo="skip",
        line={"color": GREEN, "dash": "dash", "width": 1.5},
        row=1,
        col=1,
    )
    drawn = [event for event in rounds if 0 < event.batch_tokens <= limit]  # longer ones carried a prompt
    figure.add_scatter(
        x=[event.batch_tokens for event in drawn],
        y=[event.verify_s / single for event in drawn],
        name="rounds of these runs",
        mode="markers",
        visible=bool(drawn),
        marker={"size": 6, "opacity": 0.4, "symbol": "x-thin", "line": {"width": 1.2, "color": ORANGE}},
        customdata=[[event.batch_sequences, 1000 * event.verify_s] for event in drawn],
        hovertemplate="%{x} tokens of %{customdata[0]} sequences: %{customdata[1]:.2f} ms<extra></extra>",
        row=1,
        col=1,
    )
    figure.update_xaxes(title="tokens in the decode", row=1, col=1)
    # A spike of a busy machine must not flatten the curve.
    figure.update_yaxes(title="single steps", row=1, col=1, range=[0, 1.3 * max(*relative, limit / 2)])


def _two_panels(titles: tuple[str, str], rows: list[tuple[Any, ...]]) -> Figure:
    grid = make_subplots(rows=1, cols=2, column_widths=[0.58, 0.42], horizontal_spacing=0.1, subplot_titles=titles)
    columns = ("k", "round cost in single steps", "tokens of a perfect draft", "break-even acceptance")
    figure = Figure(grid, columns=columns, rows=rows)
    figure.update_annotations(font={"size": 12, "color": TEXT})
    figure.update_layout(legend={"y": -0.16, "yanchor": "top", "x": 0, "xanchor": "left"})
    return figure


def _add_needed(figure: Figure, needed: list[tuple[int, float | None]], traces: list[Any]) -> None:
    cannot = [k for k, acceptance in needed if acceptance is None]
    figure.add_bar(
        x=[k for k, _ in needed],
        y=[1.0 if a is None else a for _, a in needed],
        row=1,
        col=2,
        showlegend=False,
        marker={
            "color": [GREY if a is None else PURPLE for _, a in needed],
            "pattern": {"shape": ["x" if a is None else "" for _, a in needed]},
            "opacity": 0.7,
        },
        text=["cannot" if a is None else f"{a:.0%}" for _, a in needed],
        textposition="outside",
        cliponaxis=False,
        hovertemplate="k = %{x}: %{text}<extra></extra>",
    )
    places = count_places(traces)
    if tested := sum(place.tested for place in places):
        rate = sum(place.accepted for place in places) / tested
        figure.add_scatter(
            x=[0.4, len(needed) + 0.6],
            y=[rate, rate],
            name=f"acceptance of these runs: {rate:.0%}",
            mode="lines",
            hoverinfo="name",
            line={"color": ORANGE, "dash": "dot"},
            row=1,
            col=2,
        )
    figure.update_xaxes(title="draft length k" + (" (hatched: cannot pay)" if cannot else ""), dtick=1, row=1, col=2)
    figure.update_yaxes(range=[0, 1.12], tickformat=".0%", row=1, col=2)


def speed_up_map(costs: CostModel, source: Any = (), *, longest: int = 8, uses_model: bool | None = None) -> Figure:
    """Draw the expected speed against plain decoding over acceptance and draft length, with the runs' own points.

    The thick line is where drafting breaks even. A point is a run: its acceptance per tested token and its mean draft
    length; its own speed-up by the model is in its hover text.
    """
    uses_model = costs.draft is not None if uses_model is None else uses_model
    acceptances = [a / 50 for a in range(51)]
    lengths = list(range(1, longest + 1))
    z = [[speed_up(costs, k, a, uses_model=uses_model) for a in acceptances] for k in lengths]
    rows = [(k, *(speed_up(costs, k, a, uses_model=uses_model) for a in (0.3, 0.5, 0.7, 0.9, 1.0))) for k in lengths]
    figure = Figure(columns=("k", *(f"acceptance {a}" for a in (0.3, 0.5, 0.7, 0.9, 1.0))), rows=rows)
    reach = max(0.5, max(abs(value - 1) for row in z for value in row))
    scale = [[0, "#b3562a"], [0.35, "#d9a27f"], [0.5, "#b9bcc0"], [0.65, "#7fb6a4"], [1, "#0f7a5c"]]
    figure.add_contour(
        x=acceptances,
        y=lengths,
        z=z,
        zmid=1,
        zmin=1 - reach,
        zmax=1 + reach,
        colorscale=scale,
        contours={"start": 0.2, "end": 1 + reach, "size": 0.2, "showlabels": True, "labelfont": {"color": "#1f1f1f"}},
        line={"width": 0.6},
        colorbar={"title": {"text": "speed-up"}, "tickfont": {"color": TEXT}},
        hovertemplate="acceptance %{x:.2f}, k = %{y}: %{z:.2f}x<extra></extra>",
    )
    figure.add_contour(
        x=acceptances,
        y=lengths,
        z=z,
        showscale=False,
        showlegend=False,
        hoverinfo="skip",
        line={"width": 3, "color": "#1f1f1f"},
        contours={"start": 1, "end": 1, "size": 1, "coloring": "none"},
    )
    _add_runs(figure, costs, traces_of(source), uses_model)
    figure.update_layout(title="Expected speed against plain decoding (thick line: break-even)", height=420)
    figure.update_xaxes(title="acceptance of a tested draft token", tickformat=".0%", showgrid=False)
    figure.update_yaxes(title="draft length k", dtick=1, showgrid=False)
    return figure


def _add_runs(figure: Figure, costs: CostModel, traces: list[Any], uses_model: bool) -> None:
    points = []
    for trace in traces:
        places, drafting = count_places([trace]), [event.k for event in trace.rounds if event.k]
        if drafting:
            rate = sum(place.accepted for place in places) / max(1, sum(place.tested for place in places))
            length = sum(drafting) / len(drafting)
            gain = speed_up(costs, round(length), rate, uses_model=uses_model)
            points.append((rate, length, f"{label(trace.prompt[:60])}<br>{rate:.0%} at k = {length:.1f}: {gain:.2f}x"))
    if points:
        x, y, text = zip(*points, strict=True)
        figure.add_scatter(
            x=x,
            y=y,
            text=text,
            mode="markers",
            name="runs",
            hovertemplate="%{text}<extra></extra>",
            marker={"symbol": "star", "size": 14, "color": "#fff", "line": {"color": "#1f1f1f", "width": 1.5}},
        )
