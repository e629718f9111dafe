"""The playground's static view: bars with their numbers, cut tokens still there, texts escaped."""

from __future__ import annotations

import re

import numpy as np

from exsa_lab.speculation.sampling import Distribution
from exsa_lab.widgets.play_static import MAX_ROWS, static_html, static_text

OWN = Distribution(None, np.array([0.5, 0.3, 0.2]))
P = Distribution(np.array([0, 1], np.int32), np.array([0.625, 0.375]))
Q = Distribution(None, np.array([0.2, 0.7, 0.1]))
NAMES = ["<b>", " sea", "\n"]
VIEW = ("the prompt", [("<i>", 1.5), (" b", 0.5)], OWN, P, Q, "top_k 2", NAMES.__getitem__)


def test_numbers_stand_beside_the_bars_and_cut_tokens_stay() -> None:
    html, text = static_html(*VIEW), static_text(*VIEW)
    for view in (html, text):
        for number in ("0.500", "0.625", "0.700", "cut"):
            assert number in view
        assert "2 tokens, 1.00 bits each on average." in view
        assert "it leaves 2 tokens" in view
        assert "accepted with probability 0.57" in view  # 0.2 + 0.375


def test_texts_are_escaped() -> None:
    html = static_html(*VIEW)
    assert "&lt;b&gt;" in html
    assert "&lt;i&gt;" in html
    assert not re.search(r"<b>|<i></i>", html)


def test_without_a_draft_there_is_no_q_and_no_text_no_average() -> None:
    text = static_text("the prompt", [], OWN, P, None, "top_k 2", NAMES.__getitem__)
    assert "accepted" not in text
    assert "bits" not in text
    assert text.splitlines()[2].split() == ["next", "token", "p", "before", "p", "after"]


def test_few_tokens_of_many_are_shown() -> None:
    many = Distribution(None, np.full(1000, 0.001))
    text = static_text("", [], many, many, None, "none", str)
    assert len(text.splitlines()) == 3 + MAX_ROWS
