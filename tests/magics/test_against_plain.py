"""What ``%%exsa --race`` compares."""

from __future__ import annotations

from exsa_lab.magics.against_plain import against_plain


def test_a_cell_races_against_plain_decoding() -> None:
    assert against_plain({"max_tokens": 9}) == {
        "plain": {"max_tokens": 9, "draft_length": 0},
        "auto": {"max_tokens": 9},
    }
    assert against_plain({"draft_length": 3, "drafter": "ngram"}) == {
        "plain": {"draft_length": 0},
        "drafted": {"draft_length": 3, "drafter": "ngram"},
    }


def test_a_cell_without_drafts_races_against_drafts() -> None:
    assert list(against_plain({"draft_length": 0})) == list(against_plain({"drafter": "none"})) == ["plain", "auto"]
