"""The token strip without a script: one piece of HTML, or plain text, made from the events.

Styles are inline and of the kinds that survive the sanitizers of JupyterLab (untrusted notebooks) and nbconvert; the
colours are mid-tones with a contrast of at least 3:1 on white and on near-black, and no mark relies on them.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from html import escape
from itertools import groupby
from typing import Any

from exsa_lab.events import Event, TokenEvent
from exsa_lab.prompts.thinking import Thinking
from exsa_lab.widgets.rows import REJECTED_KINDS, RESIDUAL, TOKEN_KINDS, Row, Tally, to_rows, visible
from exsa_lab.widgets.static_bars import bar_lines, bars_html, has_alternatives, measures
from exsa_lab.widgets.static_runs import list_html, mark_html, on_one_line, runs_of
from exsa_lab.widgets.thought import Thought, ThoughtTally

MAX_DETAILED_TOKENS = 4_000
"""Beyond this many tokens neighbours of one kind are merged and lose their tooltip, to keep the notebook small."""

_TAGS = {kind: "s" if kind in REJECTED_KINDS else "span" for kind in TOKEN_KINDS}
_STYLES = {
    "t": "",
    "a": "border-bottom:2px solid #009e73",
    "b": "border-bottom:3px double #0072b2",
    "r": "border-bottom:2px dotted #d55e00",
    "f": "border-bottom:1px dashed #777",
    "k": "",
    "c": "border:1px solid #777;border-radius:3px",
    "x": "opacity:.78;font-size:.88em",
    "d": "opacity:.72;font-size:.88em;font-style:italic",
}
# MathJax would typeset what stands between dollar signs.
_NO_MATH = "mathjax_ignore tex2jax_ignore"
_TEXT = "white-space:pre-wrap;overflow-wrap:anywhere;margin:.4em 0;max-width:78ch"

Branch = tuple[str, list[Event]]
"""Title of a branch, and its events from where it left the text."""


def static_views(
    events: Iterable[Event],
    stats: Any = None,
    *,
    title: str | None = None,
    thinking: Thinking | None = None,
    branches: Sequence[Branch] = (),
) -> tuple[str, str]:
    """Return the whole strip as HTML with inline styles and no script, every text escaped, and as plain text.

    The text has control characters made visible, and below it one line on how it went. ``stats`` (a `Stats`) gives
    speed and TTFT where it is there; ``thinking`` has a thought that is over folded. ``branches`` are shown below, from
    where they left the text.
    """
    events = list(events)
    tally, thought = Tally(), ThoughtTally(thinking)
    tally.add(events)
    thought.add(events)
    html = _html(to_rows(events), tally, stats, title, thought.thought, "".join(map(_branch_html, branches)))
    return html, _text(events, tally, stats) + "".join(map(_branch_text, branches))


def static_html(events: Iterable[Event], stats: Any = None, *, title: str | None = None) -> str:
    """Return the HTML of `static_views`."""
    return static_views(events, stats, title=title)[0]


def static_text(events: Iterable[Event], stats: Any = None) -> str:
    """Return the text of `static_views`."""
    return static_views(events, stats)[1]


def _html(rows: list[Row], tally: Tally, stats: Any, title: str | None, thought: Thought | None, branches: str) -> str:
    parts = [
        f'<div class="{_NO_MATH}" style="line-height:1.7">',
        f'<div style="font-weight:600">{escape(visible(title))}</div>' if title else "",
        f'<div style="font-size:.86em;opacity:.8">{escape(_headline(tally, stats))}</div>',
        f'<div style="font-size:.86em;font-style:italic">{escape(tally.head()["notes"])}</div>' if tally.notes else "",
        f'<div dir="auto" style="{_TEXT}">',
        *_folded(list(_token_html(rows)), thought),
        "</div>",
        _rejected_html(rows),
        branches,
        bars_html(rows),
        f'<div style="font-size:.86em;opacity:.8">{_legend(tally)}</div>',
        f'<div style="font-size:.86em">{escape(tally.summary())}</div>' if tally.state.is_final else "",
        "</div>",
    ]
    return "".join(parts)


def _branch_html(branch: Branch) -> str:
    title, events = branch
    rows = to_rows(events)
    tally = Tally()
    tally.add(events)
    head = f'<div style="font-size:.86em;font-weight:600">{escape(visible(title))}</div>'
    text = "".join(_token_html(rows))
    state = "" if tally.state.is_final else f" [{tally.state}]"
    body = f'<div dir="auto" style="{_TEXT}">… {text}{state}</div>{_rejected_html(rows)}'
    return f'<div style="margin:.5em 0 0 1em">{head}{body}</div>'


def _branch_text(branch: Branch) -> str:
    title, events = branch
    text = "".join(event.text for event in events if isinstance(event, TokenEvent))
    return f"\n\n[{visible(title)}]\n…{visible(text)}"


def _text(events: list[Event], tally: Tally, stats: Any) -> str:
    text = visible("".join(event.text for event in events if isinstance(event, TokenEvent)))
    note = tally.summary() if tally.state.is_final else ""
    parts = (_headline(tally, stats), note, visible(tally.notes))
    return f"{text}\n\n[{' '.join(part for part in parts if part)}]"


def _headline(tally: Tally, stats: Any) -> str:
    head = tally.head(stats)
    numbers = [
        f"{head['tok_s']:.1f} tok/s ({head['sure']})" if head["tok_s"] else "",
        "{:,} of {:,} drafted accepted".format(*head["drafted"]) if head["drafted"] else "",
        f"{head['per_round']:.2f} tokens per round" if head["per_round"] else "",
        f"{head['generated']:,} tokens",
        f"{head['cached'][0]:,} of {head['cached'][1]:,} prompt tokens cached" if head["cached"] else "",
        f"first after {head['ttft_s']:.2f} s" if head["ttft_s"] else "",
    ]
    return " · ".join([head["state"], *(number for number in numbers if number)]) + "."


def _token_html(rows: list[Row]) -> Iterator[str]:
    rounds = {row[1]: row for row in rows if row[0] == "R"}
    tokens = [row for row in rows if row[0] != "R"]
    runs = runs_of(tokens)
    for index, row in enumerate(tokens[:MAX_DETAILED_TOKENS]):
        if row[0] in REJECTED_KINDS:
            yield mark_html(runs[index]) if index in runs else ""
        else:
            yield _marked(row[0], _shown(row), _tooltip(row, rounds.get(row[6])))
    for is_rejected, group in groupby(tokens[MAX_DETAILED_TOKENS:], key=lambda row: row[0] in REJECTED_KINDS):
        if is_rejected:
            yield mark_html(list(group))
            continue
        for kind, alike in groupby(group, key=lambda row: row[0]):
            yield _marked(kind, "".join(map(_shown, alike)), "")


def _rejected_html(rows: list[Row]) -> str:
    """The rejected tokens with what stood around them, folded."""
    rounds = {row[1]: row for row in rows if row[0] == "R"}

    def draw(row: Row) -> str:
        return _marked(row[0], _shown(row), _tooltip(row, rounds.get(row[6])))

    return list_html([row for row in rows if row[0] != "R"], draw)


def _folded(tokens: list[str], thought: Thought | None) -> list[str]:
    """Fold a thought of tokens that are not merged."""
    if thought is None or thought.rows > MAX_DETAILED_TOKENS:
        return tokens
    head = f'<details><summary style="opacity:.8">{escape(thought.title)}</summary>'
    return [head, *tokens[: thought.rows], "</details>", *tokens[thought.rows :]]


def _shown(row: Row) -> str:
    """The token's text; a rejected line break is a sign, for the line was never broken."""
    return on_one_line(row) if row[0] in REJECTED_KINDS else str(row[2])


def _marked(kind: str, text: str, tooltip: str) -> str:
    """Mark the text; the space before a word stays outside, so that words are underlined and not the gaps."""
    body = text.lstrip() or text
    lead = text[: len(text) - len(body)]
    # A line break inside an underlined element would draw a stub of its line.
    style = f' style="{_STYLES[kind]}"' if _STYLES[kind] and body.strip("\n") else ""
    title = f' title="{escape(tooltip)}"' if tooltip else ""
    return f"{escape(lead)}<{_TAGS[kind]}{style}{title}>{escape(body)}</{_TAGS[kind]}>"


def _tooltip(row: Row, round_row: Row | None) -> str:
    kind, token_id, text, p, q, u, round_number, *_ = row
    parts = [f"{json.dumps(text, ensure_ascii=False)} id {token_id}", TOKEN_KINDS[kind].name]
    parts += ["p not computed"] if p is None and kind != "d" else []
    share = row[RESIDUAL] if len(row) > RESIDUAL else None
    numbers = (("p", p), ("q", q), ("u", u), ("residual", share))
    parts += [f"{name} {value:.3g}" for name, value in numbers if value is not None]
    if round_row is None:
        parts.append(f"round {round_number}")
    else:
        _, number, k, accepted, step_ms, time_s, _, drafter, _, looked_up_in = round_row
        drafts = f"{accepted} of {k} accepted, " if k else ""
        parts.append(f"round {number}: {drafts}{step_ms:.3g} ms, at {time_s:.2f} s")
        from_where = f", looked up in the text of {looked_up_in}" if looked_up_in else ""
        parts += [f"drafter {drafter}{from_where}"] if drafter and kind != "t" else []
    lines = [" · ".join(parts), measures(row), *(bar_lines(row) if has_alternatives(row) else [])]
    return "\n".join(line for line in lines if line)


def _legend(tally: Tally) -> str:
    marks = (
        _marked(kind, name, f"{meaning}") + f" {tally.counts[kind]:,}"
        for kind, (name, meaning) in TOKEN_KINDS.items()
        if tally.counts[kind]
    )
    return " &nbsp; ".join(marks)
