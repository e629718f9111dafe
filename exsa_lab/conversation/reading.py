"""How a conversation is read: as text, as HTML without a script, and a list of several as a table."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from html import escape

from exsa_lab.conversation.turns import RUNNING, Reply, Turn
from exsa_lab.widgets.panel import Section
from exsa_lab.widgets.rows import visible

MAX_TURNS = 100
"""Most turns shown, the last ones."""
_NAMES = {"system": "System", "user": "You", "assistant": "Model", "tool": "Tool"}
_MARKS = {
    "length": "stopped at the token limit",
    "cancelled": "interrupted",
    "error": "failed",
    RUNNING: "still running",
}
_NO_MATH = "mathjax_ignore tex2jax_ignore"
_BUBBLE = "margin:.35em 0;padding:.3em .7em;border-left:3px solid "
_COLOURS = {"user": "#0072b2", "assistant": "#009e73"}
_OTHER_COLOUR = "#808080"

Line = tuple[str, str, str]
"""Role, text and mark of a message."""


def as_text(system: str | None, turns: Sequence[Turn]) -> str:
    """Return a conversation as plain text."""
    lines = [_title(turns)]
    for role, text, mark in _lines(system, turns):
        lines.append(f"{_NAMES.get(role, role)}: {visible(text)}{f' [{mark}]' if mark else ''}")
    return "\n".join(lines)


def as_html(system: str | None, turns: Sequence[Turn]) -> str:
    """Return a conversation as HTML with inline styles, every text escaped."""
    parts = [f'<div class="{_NO_MATH}" style="max-width:78ch;line-height:1.5">']
    parts.append(f'<div style="font-size:.86em;opacity:.8">{escape(_title(turns))}</div>')
    for role, text, mark in _lines(system, turns):
        note = f' <em style="opacity:.75;font-size:.86em">[{escape(mark)}]</em>' if mark else ""
        parts.append(
            f'<div style="{_BUBBLE}{_COLOURS.get(role, _OTHER_COLOUR)}">'
            f'<div style="font-size:.8em;font-weight:600">{escape(_NAMES.get(role, role))}</div>'
            f'<div dir="auto" style="white-space:pre-wrap;overflow-wrap:anywhere">{escape(visible(text))}{note}</div>'
            "</div>"
        )
    return "".join([*parts, "</div>"])


def _title(turns: Sequence[Turn]) -> str:
    reply = _last_reply(turns)
    parts = [f"Chat: {len(turns)} turn{'s' * (len(turns) != 1)}"]
    if reply is not None and reply.prompt_tokens:
        parts.append(f"{_num_tokens(reply):,} tokens with {reply.model}")
        parts.append(f"{reply.cached_tokens:,} of {reply.prompt_tokens:,} cached in the last prompt")
    if reply is not None and reply.first_turn:
        parts.append(f"the oldest {reply.first_turn} no longer in the context")
    return visible(", ".join(parts)) + "."


def _lines(system: str | None, turns: Sequence[Turn]) -> Iterator[Line]:
    if system is not None:
        yield "system", system, ""
    if len(turns) > MAX_TURNS:
        yield "…", f"{len(turns) - MAX_TURNS:,} earlier turns", ""
    for turn in turns[-MAX_TURNS:]:
        for message in turn.asked:
            yield message["role"], message["content"], ""
        if turn.reply is not None:
            yield "assistant", turn.reply.text, _MARKS.get(turn.reply.ending, "")


def chats_section(chats: Mapping[str, Sequence[Turn]]) -> Section:
    """Return the table of several conversations by name."""
    header = ("name", "turns", "tokens", "cached", "model")
    return Section("Conversations", tuple(_row(name, turns) for name, turns in chats.items()), header)


def _row(name: str, turns: Sequence[Turn]) -> tuple[str, ...]:
    reply = _last_reply(turns)
    if reply is None or not reply.prompt_tokens:
        return name, str(len(turns)), "", "", ""
    cached = f"{reply.cached_tokens:,} of {reply.prompt_tokens:,}"
    return name, str(len(turns)), f"{_num_tokens(reply):,}", cached, reply.model


def _num_tokens(reply: Reply) -> int:
    return reply.prompt_tokens + reply.num_tokens


def _last_reply(turns: Sequence[Turn]) -> Reply | None:
    return next((turn.reply for turn in reversed(turns) if turn.reply is not None), None)
