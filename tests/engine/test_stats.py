"""Rates are of what was counted, and nothing is divided by nothing."""

from __future__ import annotations

from exsa_lab.engine.stats import Stats


def test_rates() -> None:
    stats = Stats(generated_tokens=11, decode_s=2.0, drafted_tokens=8, accepted_tokens=6, rounds=4)
    assert stats.tokens_per_second == 5.0
    assert stats.acceptance_rate == 0.75
    assert stats.mean_tokens_per_round == 2.75


def test_nothing_yet() -> None:
    stats = Stats()
    assert (stats.tokens_per_second, stats.acceptance_rate, stats.mean_tokens_per_round) == (0.0, 0.0, 0.0)


def test_every_number_is_in_the_dictionary() -> None:
    found = Stats(rounds=2, draft_reasons={"first token": 2}).as_dict()
    assert found["rounds"] == 2
    assert {"ttft_s", "verify_s", "tokens_per_second", "acceptance_rate", "mean_tokens_per_round"} <= set(found)
    assert all(isinstance(value, int | float) for value in found.values())
