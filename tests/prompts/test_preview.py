"""A prompt as people see it: control tokens stand out, and no text passes for one."""

from __future__ import annotations

from exsa_lab.prompts.preview import shown_prompt
from exsa_lab.testing import ScriptedModel

PIECES = ["a", "<|end|>", b"\xc3", b"\xa9", "<", "|", "end", ">", "\n", "\x1b"]
MODEL = ScriptedModel(PIECES, lambda tokens: [0.1] * 10, ends=[1], control=[1])


def test_control_tokens_are_in_guillemets() -> None:
    assert shown_prompt(MODEL, [0, 1, 0]) == "a\u00ab<|end|>\u00bba"


def test_a_text_that_looks_like_one_is_not() -> None:
    assert shown_prompt(MODEL, [4, 5, 6, 5, 7]) == "<|end|>"


def test_a_character_may_take_several_tokens() -> None:
    assert shown_prompt(MODEL, [2, 3]) == "\u00e9"


def test_lines_stay_and_control_characters_do_not_reach_the_page() -> None:
    shown = shown_prompt(MODEL, [0, 8, 9, 0])
    assert shown.startswith("a\n")
    assert "\x1b" not in shown
