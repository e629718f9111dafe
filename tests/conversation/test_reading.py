"""A conversation is read like one, and nothing in it acts."""

from __future__ import annotations

from exsa_lab.conversation.reading import MAX_TURNS, as_html, as_text, chats_section
from exsa_lab.conversation.turns import Reply, Turn


def turn(text: str, said: str, ending: str = "stop", **known: int) -> Turn:
    reply = Reply({"role": "assistant", "content": said, "token_ids": [1, 2]}, ending, "tiny", **known)
    return Turn(({"role": "user", "content": text},), reply)


TURNS = [
    turn("Why?", "Because."),
    turn("And <b>now</b>?", "\x1b[31m", "cancelled", prompt_tokens=1230, cached_tokens=1200),
]


def test_as_text() -> None:
    assert as_text("Be brief.", TURNS).splitlines() == [
        "Chat: 2 turns, 1,232 tokens with tiny, 1,200 of 1,230 cached in the last prompt.",
        "System: Be brief.",
        "You: Why?",
        "Model: Because.",
        "You: And <b>now</b>?",
        "Model: ␛[31m [interrupted]",
    ]
    assert as_text(None, []) == "Chat: 0 turns."


def test_as_html() -> None:
    html = as_html(None, TURNS)
    assert "And &lt;b&gt;now&lt;/b&gt;?" in html
    assert "\x1b" not in html
    assert "[interrupted]" in html
    assert "mathjax_ignore" in html


def test_long_ones_show_their_end() -> None:
    text = as_text(None, [turn(str(number), "x") for number in range(MAX_TURNS + 5)])
    assert "5 earlier turns" in text
    assert "You: 4\n" not in text
    assert "You: 5\n" in text


def test_turns_left_out_are_told() -> None:
    assert "the oldest 3 no longer in the context" in as_text(None, [turn("a", "b", prompt_tokens=9, first_turn=3)])


def test_the_table() -> None:
    section = chats_section({"chat": TURNS, "empty": []})
    assert section.rows == (("chat", "2", "1,232", "1,200 of 1,230", "tiny"), ("empty", "0", "", "", ""))
