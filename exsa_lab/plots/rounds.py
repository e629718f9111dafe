"""Where the time of each round went, and what other draft lengths would have done."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from exsa_lab.config import MAX_DRAFT_LENGTH
from exsa_lab.costs.model import CostModel
from exsa_lab.pictures import BLUE, GREEN, GREY, ORANGE
from exsa_lab.plots.figure import PURPLE, Figure, traces_of
from exsa_lab.trace.replay import Replay
from exsa_lab.trace.trace import Trace


class RoundTime(NamedTuple):
    """Where one round's time went, in seconds."""

    round: int
    draft_s: float
    verify_s: float
    sample_s: float
    gap_s: float
    """Between the round before and this one: scheduling, prefill of others, waiting."""
    k: int
    accepted: int


def split_times(trace: Trace) -> list[RoundTime]:
    """Split the time of each round; the first one's gap is left out, since it would be the wait for a slot."""
    times = []
    before = None
    for event in trace.rounds:
        gap = 0.0
        if before is not None:
            gap = event.time_s - before.time_s - before.sample_s - event.draft_s - event.verify_s
        parts = (event.draft_s, event.verify_s, event.sample_s, max(0.0, gap))
        times.append(RoundTime(event.round, *parts, event.k, event.accepted))
        before = event
    return times


def round_times(source: Any) -> Figure:
    """Draw where each round's time went: draft, verify, sample, and the gap since the round before.

    With several generations in a step the times are those of the whole step, which they share.
    """
    times = split_times(_one(source))
    figure = Figure(
        columns=("round", "draft ms", "verify ms", "sample ms", "gap ms", "k", "accepted"),
        rows=[(t.round, *(1000 * s for s in t[1:5]), t.k, t.accepted) for t in times],
    )
    hover = [
        f"round {t.round}: {t.accepted} of {t.k} accepted" if t.k else f"round {t.round}: nothing drafted"
        for t in times
    ]
    parts = (("draft", 1, GREEN, ""), ("verify", 2, BLUE, ""), ("sample", 3, ORANGE, "/"), ("gap", 4, GREY, "."))
    for name, column, color, pattern in parts:
        figure.add_bar(
            x=[t.round for t in times],
            y=[1000 * t[column] for t in times],
            name=name,
            customdata=hover,
            marker={"color": color, "line": {"width": 0}, "pattern": {"shape": pattern}},
            hovertemplate=f"%{{customdata}}<br>{name} %{{y:.2f}} ms<extra></extra>",
        )
    total = sum(sum(t[1:5]) for t in times)
    shares = (
        ", ".join(f"{name} {sum(t[column] for t in times) / total:.0%}" for name, column, *_ in parts) if total else ""
    )
    figure.update_layout(title=f"Time of each round{f': {shares}' if shares else ''}", barmode="stack", bargap=0)
    figure.update_xaxes(title="round")
    figure.update_yaxes(title="milliseconds (lower is better)")
    return figure


def draft_lengths(
    source: Any, *, longest: int = 8, costs: CostModel | None = None, drafter: str | None = None
) -> Figure:
    """Draw what every draft length from 0 to ``longest`` would have done in a recorded greedy run.

    Tokens per round by replay (`Trace.replay`), with bounds where the record does not tell; with ``costs``, as
    measured by the engine, also the speed against plain decoding. ``drafter="ngram"`` shows lookup in place of the
    recorded drafter. The longest one allowed is 16.
    """
    trace = _one(source)
    replays = [trace.replay(k, drafter) for k in range(min(longest, MAX_DRAFT_LENGTH) + 1)]
    speeds = [replay.speed_up(costs) for replay in replays] if costs else []
    rows: list[tuple[Any, ...]] = [
        (r.draft_length, r.rounds, r.tokens_per_round, r.acceptance_rate, r.is_exact) for r in replays
    ]
    columns: tuple[str, ...] = ("draft length", "rounds", "tokens per round", "accepted", "exact")
    if speeds:
        rows = [(*row, speed) for row, speed in zip(rows, speeds, strict=True)]
        columns = (*columns, "speed-up")
    figure = Figure(columns=columns, rows=rows)
    _add_tokens_per_round(figure, replays)
    if costs is not None:
        figure.add_scatter(
            x=[r.draft_length for r in replays],
            y=speeds,
            name="speed-up by measured costs",
            mode="lines+markers",
            line={"color": PURPLE, "dash": "dot"},
            marker={"symbol": "diamond", "size": 8},
            hovertemplate="k = %{x}: %{y:.2f}x plain decoding<extra></extra>",
        )
        figure.add_hline(y=1, line={"color": GREY, "dash": "dash", "width": 1})
    by = "lookup" if replays[0].drafter == "ngram" else "the draft model"
    figure.update_layout(title=f"What other draft lengths would have done in this run, drafted by {by}")
    figure.update_xaxes(title="draft length k", dtick=1, range=[-0.4, len(replays) - 0.6])
    figure.update_yaxes(title="tokens per round" + (", speed-up" if speeds else ""), rangemode="tozero")
    return figure


def _add_tokens_per_round(figure: Figure, replays: Sequence[Replay]) -> None:
    values = [r.tokens_per_round for r in replays]
    exact = ["circle" if r.is_exact else "circle-open" for r in replays]
    figure.add_scatter(
        x=[r.draft_length for r in replays],
        y=values,
        name="tokens per round (open: extrapolated)",
        mode="lines+markers",
        line={"color": BLUE},
        marker={"symbol": exact, "size": 10},
        error_y={
            "type": "data",
            "symmetric": False,
            "thickness": 1.2,
            "width": 3,
            "array": [r.tokens / max(1, r.fewest_rounds) - v for r, v in zip(replays, values, strict=True)],
            "arrayminus": [v - r.tokens / max(1, r.most_rounds) for r, v in zip(replays, values, strict=True)],
        },
        text=[str(r) for r in replays],
        hovertemplate="%{text}<extra></extra>",
    )


def _one(source: Any) -> Trace:
    traces = traces_of(source)
    if len(traces) != 1:
        raise ValueError(f"This figure shows one run, not {len(traces)}.")
    return traces[0]
