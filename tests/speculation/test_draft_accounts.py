"""What drafters may lose: alone, in a batch, and on the next text."""

from __future__ import annotations

import pytest

from exsa_lab.speculation.draft_accounts import FIRST_CREDIT, MAX_CREDIT, SHARE, Accounts


def test_a_batch_may_lose_fewer_of_its_own_steps() -> None:
    accounts = Accounts()
    steps = [accounts.steps("model", num) for num in (1, 4, 8, 16)]
    assert steps[0] == FIRST_CREDIT
    assert steps == sorted(steps, reverse=True)
    assert len(set(steps)) == len(steps)
    assert all(num * each > FIRST_CREDIT for num, each in zip((4, 8, 16), steps[1:], strict=True))


@pytest.mark.parametrize("num_sequences", [1, 4, 8])
def test_every_plain_step_earns_its_share(num_sequences: int) -> None:
    accounts = Accounts()
    before = accounts.steps("ngram", num_sequences)
    accounts.rest(num_sequences)
    assert accounts.steps("ngram", num_sequences) - before == pytest.approx(SHARE)


def test_an_overdrawn_account_stakes_nothing() -> None:
    accounts = Accounts()
    accounts.balance["model"] = -0.1
    assert accounts.stake("model", 1) == 0.0
    assert accounts.stake("ngram", 1) == 1.0 + FIRST_CREDIT / 2


def test_a_text_begins_with_no_more_than_the_first_credit() -> None:
    accounts = Accounts()
    accounts.balance = {"model": MAX_CREDIT, "ngram": -3.0}
    accounts.new_text()
    assert accounts.balance == {"model": FIRST_CREDIT, "ngram": -3.0}
