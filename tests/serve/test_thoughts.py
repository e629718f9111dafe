"""A thought and its answer are told apart in pieces as they are in the whole text."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from exsa_lab.prompts.thinking import Thinking
from exsa_lab.serve.thoughts import ThoughtStream

PIECES = [
    "<start>final:",
    "<start>",
    "final:",
    "<think>",
    "</think>",
    "<thi",
    "nk>",
    "</th",
    "ink>",
    " ",
    "\n",
    "a",
    "b<",
    "é",
    "</think>x",
    "",
    "<",
    ">",
]


def streamed(thinking: Thinking | None, pieces: list[str]) -> tuple[str, str]:
    stream = ThoughtStream(thinking)
    told = [stream.add(piece) for piece in pieces]
    told.append(stream.finish())
    return "".join(thought for thought, _ in told), "".join(answer for _, answer in told)


@given(st.lists(st.sampled_from(PIECES), max_size=12), st.booleans(), st.sampled_from(["", "<start>final:"]))
def test_the_pieces_make_up_what_the_whole_is_split_into(pieces: list[str], is_open: bool, head: str) -> None:
    thinking = Thinking("<think>", "</think>", is_open, head=head)
    assert streamed(thinking, pieces) == thinking.split("".join(pieces))[:2]


@given(st.lists(st.sampled_from(PIECES), max_size=8))
def test_without_thoughts_the_text_is_the_answer(pieces: list[str]) -> None:
    assert streamed(None, pieces) == ("", "".join(pieces))


def test_what_is_certain_is_told_at_once() -> None:
    stream = ThoughtStream(Thinking("<think>", "</think>"))
    assert stream.add("<think>") == ("", "")
    assert stream.add("Hm") == ("Hm", "")
    assert stream.add(" so</thi") == (" so", "")
    assert stream.add("nk>\n\nYes") == ("", "Yes")
    assert stream.add(" indeed") == ("", " indeed")
