"""The playground without a script: the text with each token's surprisal, and the next token's distributions as bars.

Bars are parts of the page's own text colour and blue and green mid-tones, which read on white and on near-black; every
number stands beside its bar.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from html import escape

from exsa_lab.pictures import BLUE, GREEN
from exsa_lab.speculation.sampling import Distribution
from exsa_lab.trace.positions import common_probability

MAX_ROWS = 10
_CELL = 'style="text-align:left;padding:1px 8px"'

Name = Callable[[int], str]


def static_html(
    prompt: str,
    path: Sequence[tuple[str, float]],
    own: Distribution,
    p: Distribution,
    q: Distribution | None,
    chain: str,
    name: Name,
) -> str:
    """Return the view as HTML with inline styles and no script, every text escaped."""
    tokens = "".join(f'<span title="{bits:.2f} bits">{escape(text)}</span>' for text, bits in path)
    rows = _rows(own, p, q)
    most = max([0.05, *(max(row[1:]) for row in rows)])
    head = "".join(f"<th {_CELL}>{escape(text)}</th>" for text in _columns(q))
    body = "".join(_row_html(row, most, name, has_draft=q is not None) for row in rows)
    return (
        '<div class="mathjax_ignore tex2jax_ignore" style="font-size:.92em;line-height:1.6">'
        '<div dir="auto" style="white-space:pre-wrap;overflow-wrap:anywhere;max-width:78ch">'
        f"<i>{escape(prompt)}</i>{tokens}▮</div>"
        f"<div>{escape(_summary(path, p, q, chain))}</div>"
        f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>"
    )


def static_text(
    prompt: str,
    path: Sequence[tuple[str, float]],
    own: Distribution,
    p: Distribution,
    q: Distribution | None,
    chain: str,
    name: Name,
) -> str:
    """Return the view as lines of text."""
    lines = [f"{prompt}{''.join(text for text, _ in path)}▮", _summary(path, p, q, chain)]
    lines.append("".join(column.rjust(14) for column in _columns(q)))
    for token, own_x, p_x, q_x in _rows(own, p, q):
        cells = [repr(name(token)), f"{own_x:.3f}", _after(own_x, p_x), *([f"{q_x:.3f}"] if q is not None else [])]
        lines.append("".join(cell.rjust(14) for cell in cells))
    return "\n".join(lines)


def _columns(q: Distribution | None) -> list[str]:
    return ["next token", "p before", "p after", *(["q"] if q is not None else [])]


def _rows(own: Distribution, p: Distribution, q: Distribution | None) -> list[tuple[int, float, float, float]]:
    """Token, probability before the chain, after it, and the draft's, of the tokens that matter most."""
    found: dict[int, float] = {}
    for one in (own, p, q):
        if one is not None:
            for index in one.probs.argsort()[::-1][:MAX_ROWS].tolist():
                token = int(one.tokens[index])
                found[token] = max(found.get(token, 0.0), float(one.probs[index]))
    best = sorted(found, key=lambda token: -found[token])[:MAX_ROWS]
    best.sort(key=lambda token: -own.probability(token))
    return [(t, own.probability(t), p.probability(t), q.probability(t) if q is not None else 0.0) for t in best]


def _row_html(row: tuple[int, float, float, float], most: float, name: Name, *, has_draft: bool) -> str:
    token, own_x, p_x, q_x = row
    cells = [
        f"<td {_CELL}><code>{escape(name(token))}</code></td>",
        _bar(own_x, most, "border:1px solid currentColor;box-sizing:border-box", f"{own_x:.3f}"),
        _bar(p_x, most, f"background:{BLUE}", _after(own_x, p_x)),
        *([_bar(q_x, most, f"background:{GREEN}", f"{q_x:.3f}")] if has_draft else []),
    ]
    return f"<tr>{''.join(cells)}</tr>"


def _bar(value: float, most: float, style: str, text: str) -> str:
    width = round(110 * value / most)
    bar = f'<span style="display:inline-block;height:9px;width:{width}px;{style}"></span> ' if width else ""
    return f"<td {_CELL}>{bar}{escape(text)}</td>"


def _after(own_x: float, p_x: float) -> str:
    return "cut" if p_x == 0 and own_x > 0 else f"{p_x:.3f}"


def _summary(path: Sequence[tuple[str, float]], p: Distribution, q: Distribution | None, chain: str) -> str:
    bits = sum(bits for _, bits in path)
    tokens = f"{len(path)} token{'s' * (len(path) != 1)}"
    written = f"{tokens}, {bits / len(path):.2f} bits each on average. " if path else ""
    kept = int((p.probs > 0).sum())
    common = f" A token drawn from q is accepted with probability {common_probability(p, q):.2f}." if q else ""
    return f"{written}Chain: {chain}; it leaves {kept:,} token{'s' * (kept != 1)}.{common}"
