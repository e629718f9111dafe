"""Choosing the pair."""

from __future__ import annotations

from exsa_lab.tuner import Tuner


def test_loading_another_pair_says_how_it_went(tuner: Tuner) -> None:
    tuner.models.target.value = "no-such-model"
    tuner.models.button.click()
    tuner.models.wait(60)
    assert "no-such-model" in tuner.status.value
    assert not tuner.models.button.disabled
