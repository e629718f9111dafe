"""Acceptance estimates: calibrated, adaptive, shared between sequences where they know nothing yet."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exsa_lab.speculation.acceptance_rates import AcceptanceEstimate, DraftHistory, Rates

drafts = st.lists(st.tuples(st.lists(st.floats(0, 1), min_size=1, max_size=16), st.integers(0, 16)), max_size=30)


def train(estimate: AcceptanceEstimate, history: DraftHistory, acceptance: float, rounds: int, k: int = 4) -> None:
    """Rounds of k tokens of confidence 0.7 that are each accepted with the same probability."""
    rng = np.random.default_rng(0)
    for _ in range(rounds):
        refused = np.flatnonzero(rng.random(k) >= acceptance)
        estimate.observe_model(history, [0.7] * k, int(refused[0]) if len(refused) else k)


@settings(deadline=None)
@given(drafts, st.integers(0, 200), st.integers(1, 16))
def test_survival_is_a_falling_probability(
    seen: list[tuple[list[float], int]], match_length: int, max_tokens: int
) -> None:
    estimate = AcceptanceEstimate()
    history = estimate.new_history()
    for confidences, accepted in seen:
        estimate.observe_model(history, confidences, min(accepted, len(confidences)))
        estimate.observe_ngram(history, len(confidences), accepted > 3)
    for survival in (
        estimate.model_survival(history, max_tokens),
        estimate.ngram_survival(history, match_length, max_tokens),
    ):
        assert len(survival) == max_tokens
        assert all(0 <= value <= 1 for value in survival)
        assert survival == sorted(survival, reverse=True)


@settings(deadline=None)
@given(drafts, st.floats(0, 1))
def test_chances_are_probabilities(seen: list[tuple[list[float], int]], confidence: float) -> None:
    estimate = AcceptanceEstimate()
    history = estimate.new_history()
    for confidences, accepted in seen:
        estimate.observe_model(history, confidences, min(accepted, len(confidences)))
    assert 0 <= estimate.chance(history, confidence) <= 1
    assert 0 <= estimate.calibrated(confidence) <= 1


@pytest.mark.parametrize("acceptance", [0.0, 0.3, 0.6, 0.9, 0.98])
def test_a_steady_rate_is_found(acceptance: float) -> None:
    estimate = AcceptanceEstimate()
    history = estimate.new_history()
    train(estimate, history, acceptance, rounds=150)
    assert estimate.place_rates(history)[0] == pytest.approx(acceptance, abs=0.12)
    assert estimate.chance(history, 0.7) == pytest.approx(acceptance, abs=0.15)


def test_tokens_after_the_refused_one_say_nothing() -> None:
    one, other = AcceptanceEstimate(), AcceptanceEstimate()
    first, second = one.new_history(), other.new_history()
    one.observe_model(first, [0.9, 0.5], accepted=1)
    other.observe_model(second, [0.9, 0.5, 0.1, 0.1], accepted=1)
    assert one.place_rates(first) == other.place_rates(second)


def test_confidence_is_calibrated_by_what_came() -> None:
    estimate = AcceptanceEstimate()
    history = estimate.new_history()
    for _ in range(100):
        estimate.observe_token(history, 0, 0.97, is_right=False)  # sure of itself and wrong
        estimate.observe_token(history, 0, 0.3, is_right=True)  # unsure and right
    assert estimate.calibrated(0.97) < 0.15
    assert estimate.calibrated(0.3) > 0.85
    assert estimate.calibrated(0.55) == pytest.approx(0.58, abs=0.02)  # never seen: as it says


def test_a_change_is_noticed_within_a_dozen_rounds() -> None:
    estimate = AcceptanceEstimate()
    history = estimate.new_history()
    train(estimate, history, 0.97, rounds=200)
    assert estimate.place_rates(history)[0] > 0.9
    train(estimate, history, 0.0, rounds=12)
    assert estimate.place_rates(history)[0] < 0.4
    train(estimate, history, 1.0, rounds=12)
    assert estimate.place_rates(history)[0] > 0.6


def test_a_single_failure_is_no_change() -> None:
    estimate = AcceptanceEstimate()
    history = estimate.new_history()
    train(estimate, history, 1.0, rounds=100)
    estimate.observe_model(history, [0.7], accepted=0)
    assert estimate.place_rates(history)[0] > 0.85


def test_a_new_sequence_starts_from_what_others_saw() -> None:
    estimate = AcceptanceEstimate()
    before = estimate.place_rates(estimate.new_history())[0]
    train(estimate, estimate.new_history(), 0.95, rounds=100)
    assert estimate.place_rates(estimate.new_history())[0] > max(before, 0.85)


def test_sequences_differ_where_they_have_shown_it() -> None:
    estimate = AcceptanceEstimate()
    good, bad = estimate.new_history(), estimate.new_history()
    for _ in range(20):
        train(estimate, good, 1.0, rounds=1)
        train(estimate, bad, 0.0, rounds=1)
    assert estimate.place_rates(good)[0] > 0.8
    assert estimate.place_rates(bad)[0] < 0.2
    assert estimate.chance(good, 0.7) > 0.7
    assert estimate.chance(bad, 0.7) < 0.3


def test_idle_sequences_drift_back_to_the_common_rate() -> None:
    estimate = AcceptanceEstimate()
    bad = estimate.new_history()
    train(estimate, estimate.new_history(), 0.9, rounds=200)
    train(estimate, bad, 0.0, rounds=20)
    at_once = estimate.place_rates(bad)[0]
    bad.idle = 60
    assert estimate.place_rates(bad)[0] > at_once + 0.3


def test_bad_luck_at_later_places_is_forgotten_while_they_are_not_drafted() -> None:
    estimate = AcceptanceEstimate()
    history = estimate.new_history()
    for _ in range(10):
        estimate.observe_model(history, [0.7, 0.7], accepted=1)
    unlucky = estimate.place_rates(history)[1]
    for _ in range(60):
        estimate.observe_model(history, [0.7], accepted=1)
    assert estimate.place_rates(history)[1] > unlucky + 0.2


def test_long_matches_are_trusted_more_from_the_start() -> None:
    estimate = AcceptanceEstimate()
    history = estimate.new_history()
    chances = [estimate.ngram_survival(history, length, 1)[0] for length in (2, 3, 5, 10, 20, 64)]
    assert chances == sorted(chances)
    assert chances[0] < 0.5
    assert chances[-1] > 0.9


def test_an_accepted_run_makes_the_next_token_likelier() -> None:
    estimate = AcceptanceEstimate()
    survival = estimate.ngram_survival(estimate.new_history(), 4, 12)
    conditional = [later / before for before, later in itertools.pairwise(survival)]
    assert conditional == pytest.approx(sorted(conditional))
    assert conditional[-1] > conditional[0] + 0.1


def test_match_lengths_are_learned_apart() -> None:
    estimate = AcceptanceEstimate()
    history = estimate.new_history()
    for _ in range(50):
        estimate.observe_ngram(history, 2, is_right=False)
        estimate.observe_ngram(history, 20, is_right=True)
    assert estimate.ngram_survival(history, 2, 1)[0] < 0.1
    assert estimate.ngram_survival(history, 20, 1)[0] > 0.95


def test_a_text_that_was_a_copy_so_far_is_trusted_at_lengths_not_seen_yet() -> None:
    estimate = AcceptanceEstimate()
    copy, other = estimate.new_history(), estimate.new_history()
    for match_length in (2, 3, 4, 5):
        estimate.observe_ngram(copy, match_length, True)
        estimate.observe_ngram(other, match_length, match_length < 4)
    fresh = estimate.ngram_survival(estimate.new_history(), 8, 4)
    assert estimate.ngram_survival(copy, 8, 4)[3] > 1.2 * fresh[3]
    assert estimate.ngram_survival(other, 8, 4)[3] < fresh[3]


def test_a_guess_counts_as_its_probability() -> None:
    estimate = AcceptanceEstimate()
    history = estimate.new_history()
    for _ in range(200):
        estimate.observe_guess(history, 0, 0.1)
    assert estimate.place_rates(history)[0] == pytest.approx(estimate.calibrated(0.1), abs=0.05)


def test_rates_forget_a_class_at_a_time() -> None:
    rates = Rates(2, 0.98, can_turn=False)
    for _ in range(10):
        rates.observe(0, 1.0)
        rates.observe(1, 1.0)
    rates.age(0, 0.0)
    assert rates.rate(0, 0.5, 4.0) == 0.5
    assert rates.rate(1, 0.5, 4.0) > 0.8
