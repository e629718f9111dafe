"""Acceptance rates: calibrated, adaptive, shared between sequences where they know nothing yet."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exsa_lab.speculation.acceptance_rates import AcceptanceRates, DraftHistory, OwnRecord, RateTable

drafts = st.lists(st.tuples(st.lists(st.floats(0, 1), min_size=1, max_size=16), st.integers(0, 16)), max_size=30)
lookups = st.lists(st.tuples(st.integers(0, 300), st.booleans()), max_size=60)


def train(rates: AcceptanceRates, history: DraftHistory, acceptance: float, rounds: int, k: int = 4) -> None:
    """Rounds of k tokens of confidence 0.7 that are each accepted with the same probability."""
    rng = np.random.default_rng(0)
    for _ in range(rounds):
        refused = np.flatnonzero(rng.random(k) >= acceptance)
        rates.observe_model(history, [0.7] * k, int(refused[0]) if len(refused) else k)


def first_of_lookup(rates: AcceptanceRates, history: DraftHistory, match_length: int) -> float:
    return rates.lookup_survival(history, match_length, 1)[0]


@settings(deadline=None)
@given(drafts, lookups, st.integers(0, 200), st.integers(1, 16), st.floats(0, 1))
def test_whatever_was_seen_chances_are_probabilities_and_survival_falls(
    seen: list[tuple[list[float], int]],
    looked_up: list[tuple[int, bool]],
    match_length: int,
    max_tokens: int,
    confidence: float,
) -> None:
    rates, history = AcceptanceRates(), DraftHistory()
    for confidences, accepted in seen:
        rates.observe_model(history, confidences, min(accepted, len(confidences)))
    rates.observe_lookup(history, looked_up)
    for each in (history, DraftHistory()):
        assert 0 < rates.chance(each, confidence) < 1
        for survival in (
            rates.model_survival(each, max_tokens),
            rates.lookup_survival(each, match_length, max_tokens),
        ):
            assert len(survival) == max_tokens
            assert all(0 < value < 1 for value in survival)
            assert survival == sorted(survival, reverse=True)


# Draft model


@pytest.mark.parametrize("acceptance", [0.0, 0.3, 0.6, 0.9, 0.98])
def test_a_steady_rate_is_found(acceptance: float) -> None:
    rates, history = AcceptanceRates(), DraftHistory()
    train(rates, history, acceptance, rounds=150)
    assert rates.model_rate(history) == pytest.approx(acceptance, abs=0.12)
    assert rates.chance(history, 0.7) == pytest.approx(acceptance, abs=0.15)


def test_tokens_after_the_refused_one_say_nothing() -> None:
    one, other = AcceptanceRates(), AcceptanceRates()
    first, second = DraftHistory(), DraftHistory()
    one.observe_model(first, [0.9, 0.5], accepted=1)
    other.observe_model(second, [0.9, 0.5, 0.1, 0.1], accepted=1)
    assert first == second
    assert one.model_rate(first) == other.model_rate(second)
    assert [one.chance(first, c) for c in (0.9, 0.5, 0.1)] == [other.chance(second, c) for c in (0.9, 0.5, 0.1)]


def test_confidence_is_calibrated_by_what_came() -> None:
    rates, history = AcceptanceRates(), DraftHistory()
    for _ in range(300):
        rates.observe_token(history, 0.97, is_right=False)  # sure of itself and wrong
        rates.observe_token(history, 0.3, is_right=True)  # unsure and right
    assert rates.chance(DraftHistory(), 0.97) < 0.15
    assert rates.chance(DraftHistory(), 0.3) > 0.85
    assert rates.chance(DraftHistory(), 0.55) == pytest.approx(0.58, abs=0.02)  # never seen: as it says


def test_a_surer_token_is_likelier_from_the_start() -> None:
    rates = AcceptanceRates()
    chances = [rates.chance(DraftHistory(), confidence) for confidence in (0.05, 0.3, 0.6, 0.85, 0.96, 1.0)]
    assert chances == sorted(chances)
    assert chances[0] < 0.2
    assert chances[-1] > 0.95


def test_a_draft_whose_confidence_nobody_asked_for_counts_for_the_rate_only() -> None:
    rates, history = AcceptanceRates(), DraftHistory()
    before = rates.chance(DraftHistory(), 0.7)
    for _ in range(50):
        rates.observe_model(history, [None, None], accepted=2)
    assert rates.model_rate(history) > 0.9
    assert rates.chance(DraftHistory(), 0.7) == before


def test_a_change_is_noticed_within_a_dozen_rounds() -> None:
    rates, history = AcceptanceRates(), DraftHistory()
    train(rates, history, 0.97, rounds=200)
    assert rates.model_rate(history) > 0.9
    train(rates, history, 0.0, rounds=20)
    assert rates.model_rate(history) < 0.45
    train(rates, history, 1.0, rounds=12)
    assert rates.model_rate(history) > 0.6


def test_a_single_failure_is_no_change() -> None:
    rates, history = AcceptanceRates(), DraftHistory()
    train(rates, history, 1.0, rounds=100)
    rates.observe_model(history, [0.7], accepted=0)
    assert rates.model_rate(history) > 0.85


def test_a_new_sequence_starts_from_what_others_saw() -> None:
    rates = AcceptanceRates()
    before = rates.model_rate(DraftHistory())
    train(rates, DraftHistory(), 0.95, rounds=100)
    assert rates.model_rate(DraftHistory()) > max(before, 0.85)


def test_sequences_differ_where_they_have_shown_it() -> None:
    rates, good, bad = AcceptanceRates(), DraftHistory(), DraftHistory()
    for _ in range(20):
        train(rates, good, 1.0, rounds=1)
        train(rates, bad, 0.0, rounds=1)
    assert rates.model_rate(good) > 0.8
    assert rates.model_rate(bad) < 0.2
    for confidence in (0.3, 0.7, 0.96):  # better at every confidence, seen or not
        assert rates.chance(good, confidence) > rates.chance(DraftHistory(), confidence) > rates.chance(bad, confidence)


# Lookup


def test_long_matches_are_trusted_more_from_the_start() -> None:
    rates = AcceptanceRates()
    chances = [first_of_lookup(rates, DraftHistory(), length) for length in (2, 3, 5, 10, 20, 64)]
    assert chances == sorted(chances)
    assert chances[0] < 0.5
    assert chances[-1] > 0.9


def test_an_accepted_run_makes_the_next_token_likelier() -> None:
    survival = AcceptanceRates().lookup_survival(DraftHistory(), 4, 12)
    conditional = [later / before for before, later in itertools.pairwise(survival)]
    assert conditional == pytest.approx(sorted(conditional))
    assert conditional[-1] > conditional[0] + 0.1


def test_match_lengths_are_learned_apart() -> None:
    rates, history = AcceptanceRates(), DraftHistory()
    rates.observe_lookup(history, [(2, False), (20, True)] * 200)
    assert first_of_lookup(rates, DraftHistory(), 2) < 0.1
    assert first_of_lookup(rates, DraftHistory(), 20) > 0.95


def test_a_text_that_was_a_copy_so_far_is_trusted_at_lengths_not_seen_yet() -> None:
    rates, copy, other = AcceptanceRates(), DraftHistory(), DraftHistory()
    for _ in range(2):
        rates.observe_lookup(copy, [(length, True) for length in (2, 3, 4, 5)])
        rates.observe_lookup(other, [(length, False) for length in (2, 3, 4, 5)])
    fresh = rates.lookup_survival(DraftHistory(), 8, 4)
    assert rates.lookup_survival(copy, 8, 4)[3] > 1.2 * fresh[3]
    assert rates.lookup_survival(other, 8, 4)[3] < 0.8 * fresh[3]


def test_the_drafters_do_not_judge_each_other() -> None:
    rates, history = AcceptanceRates(), DraftHistory()
    before = rates.model_rate(history), rates.chance(history, 0.7)
    rates.observe_lookup(history, [(5, False)] * 30)
    assert (rates.model_rate(history), rates.chance(history, 0.7)) == before


# The parts


def test_a_table_starts_at_its_priors_and_forgets_each_class_by_itself() -> None:
    table = RateTable([0.2, 0.8])
    assert (table.rate(0), table.rate(1)) == pytest.approx((0.2, 0.8))
    for _ in range(500):
        table.observe(0, True)
    for _ in range(100):
        table.observe(0, False)
    assert table.rate(0) < 0.5, "some hundred tests count"
    assert table.rate(1) == pytest.approx(0.8)


@given(st.lists(st.tuples(st.floats(0.05, 0.95), st.booleans()), max_size=100))
def test_a_record_shifts_by_what_came_against_what_was_expected(seen: list[tuple[float, bool]]) -> None:
    record = OwnRecord()
    assert record.shift == 1.0
    for expected, is_right in seen:
        record.observe(expected, is_right)
        assert (record.shift > 1.0) == (record.accepted > record.expected) or record.shift == pytest.approx(1.0)
