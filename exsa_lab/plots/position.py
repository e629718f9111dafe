"""One position: its distribution under several settings, and the accept/reject rule as areas."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from exsa_lab.pictures import BLUE, GREEN, GREY, ORANGE
from exsa_lab.plots.figure import COLORS, Figure, label

if TYPE_CHECKING:
    from exsa_lab.speculation.sampling import Distribution


_BARS = (
    ("accepted: min(p, q)", 3, 0, None, GREEN, ""),
    ("residual: p - q, drawn from after a refusal", 4, 0, 3, BLUE, "/"),
    ("accepted", 3, 1, None, GREEN, ""),
    ("refused: q - p", 5, 1, 3, ORANGE, "x"),
)
"""Name, column of the height, left (p) or right (q), column it stands on, colour, pattern."""


def accept_region(
    p: Distribution | Mapping[int, float],
    q: Distribution | Mapping[int, float],
    *,
    names: Mapping[int, str] | Callable[[int], str] = str,
    most: int = 12,
    drafted: int | None = None,
) -> Figure:
    """Draw the target's p and the draft's q of one position as bars, the accepted part and the residual marked.

    A draft token x drawn from q is accepted with probability min(1, p(x)/q(x)): altogether the common part of both,
    sum of min(p, q). What q has in excess is refused, and what p has in excess is exactly what refused tokens are
    drawn from instead, so that the result is distributed as p (Leviathan et al. 2023, Algorithm 1).

    ``p`` and ``q`` are probabilities by token id, or `Distribution`s; ``names`` gives a token's text. The ``most``
    most probable tokens are drawn. ``drafted`` points out one of them.

    Example::

        accept_region({0: 0.6, 1: 0.4}, {0: 0.2, 1: 0.8}, names={0: "blue", 1: "grey"})
    """
    p_of, q_of = _as_dict(p), _as_dict(q)
    tokens = sorted({*p_of, *q_of}, key=lambda token: -max(p_of.get(token, 0), q_of.get(token, 0)))[:most]
    rows = []
    for token in tokens:
        p_x, q_x = p_of.get(token, 0.0), q_of.get(token, 0.0)
        rows.append((_name(names, token), p_x, q_x, min(p_x, q_x), max(0.0, p_x - q_x), max(0.0, q_x - p_x)))
    figure = Figure(columns=("token", "p", "q", "accepted", "residual", "refused"), rows=rows)
    texts = [label(repr(row[0])) for row in rows]
    _add_bars(figure, texts, rows)
    accepted = sum(min(p_of[token], q_of.get(token, 0.0)) for token in p_of)
    figure.update_layout(
        title="One position: left bars p (target), right bars q (draft)"
        f"<br><sup>accepted with probability {accepted:.2f}</sup>",
        barmode="group",
        bargap=0.3,
        bargroupgap=0.06,
        legend={"y": -0.2, "yanchor": "top", "x": 0, "xanchor": "left"},
    )
    figure.update_yaxes(title="probability")
    figure.update_xaxes(title="token", type="category")
    if drafted in tokens:
        index = tokens.index(drafted)
        _point_out(figure, texts[index], *rows[index][1:3])
    return figure


def _add_bars(figure: Figure, texts: Sequence[str], rows: Sequence[tuple[Any, ...]]) -> None:
    """Add p on the left and q on the right of each token, the part that both have in common marked."""
    for name, column, offset, base, color, pattern in _BARS:
        figure.add_bar(
            x=texts,
            y=[row[column] for row in rows],
            name=name,
            offsetgroup=offset,
            legendgroup=color,
            base=None if base is None else [row[base] for row in rows],
            showlegend=name != "accepted",
            marker={"color": color, "pattern": {"shape": pattern}, "line": {"color": GREY, "width": 0.5}},
            customdata=[["p" if offset == 0 else "q", row[1 + offset]] for row in rows],
            hovertemplate="%{x}: %{customdata[0]} = %{customdata[1]:.3f}<extra></extra>",
        )


_PATTERNS = ("", "/", "x", ".", "-")


def next_token(
    distributions: Mapping[str, Distribution | Mapping[int, float]],
    *,
    names: Mapping[int, str] | Callable[[int], str] = str,
    most: int = 10,
) -> Figure:
    """Draw one position's distribution under several settings side by side: what temperature and cuts do to it.

    ``distributions`` are probabilities by token id, or `Distribution`s, by the name of their setting; ``names`` gives a
    token's text. The ``most`` most probable tokens are drawn.

    Example::

        next_token({"T = 1": places.p(0), "T = 0.5": places.p(0, temperature=0.5)}, names=places.name)
    """
    given = {name: _as_dict(distribution) for name, distribution in distributions.items()}
    highest = {token: max(d.get(token, 0.0) for d in given.values()) for d in given.values() for token in d}
    tokens = sorted(highest, key=lambda token: -highest[token])[:most]
    rows = [(_name(names, token), *(d.get(token, 0.0) for d in given.values())) for token in tokens]
    figure = Figure(columns=("token", *given), rows=rows)
    texts = [label(repr(row[0])) for row in rows]
    for index, (name, distribution) in enumerate(given.items()):
        figure.add_bar(
            x=texts,
            y=[row[1 + index] for row in rows],
            name=label(f"{name} ({len(distribution):,} token{'s' * (len(distribution) != 1)})"),
            marker={
                "color": COLORS[index % len(COLORS)],
                "pattern": {"shape": _PATTERNS[index % len(_PATTERNS)]},
                "line": {"width": 0},
            },
            hovertemplate=f"%{{x}}: %{{y:.3f}}<extra>{label(name)}</extra>",
        )
    figure.update_layout(title="One position", barmode="group", bargap=0.25)
    figure.update_layout(legend={"y": -0.2, "yanchor": "top", "x": 0, "xanchor": "left"})
    figure.update_yaxes(title="probability")
    figure.update_xaxes(title="token", type="category")
    return figure


def _point_out(figure: Figure, text: str, p: float, q: float) -> None:
    chance = min(1.0, p / q) if q else 0.0
    note = f"drafted: accepted if u &lt; {chance:.2f}"
    figure.add_annotation(x=text, y=max(p, q), ax=0, ay=-34, arrowcolor=GREY, text=note)


def _as_dict(distribution: Any) -> dict[int, float]:
    if isinstance(distribution, Mapping):
        return {int(token): float(prob) for token, prob in distribution.items() if prob > 0}
    ids = range(len(distribution.probs)) if distribution.ids is None else distribution.ids.tolist()
    return {int(token): float(prob) for token, prob in zip(ids, distribution.probs, strict=True) if prob > 0}


def _name(names: Any, token: int) -> str:
    return str(names.get(token, token) if isinstance(names, Mapping) else names(token))
