"""What of a verdict becomes text, and the events that tell of it."""

from __future__ import annotations

import pytest

from exsa_lab.engine.commit import commit, emit
from exsa_lab.engine.proposers import Draft
from exsa_lab.events import RejectedEvent, Rejection, Source, TokenEvent
from exsa_lab.speculation.rejection_sampling import DraftCheck, Verdict
from tests.engine.parts import END, LETTERS, sequence


def draft(*tokens: int) -> Draft:
    return Draft("model", tokens=list(tokens), probs=[0.5] * len(tokens), dists=[None] * len(tokens))


def verdict(accepted: int, token: int, num_drafted: int) -> Verdict:
    checks = [DraftCheck(0, 0.9, 0.5, 0.1, True)] * accepted
    if accepted < num_drafted:
        checks.append(DraftCheck(0, 0.2, 0.5, 0.9, False))
    source = Source.TARGET if not num_drafted else Source.BONUS if accepted == num_drafted else Source.RESAMPLED
    return Verdict(accepted, token, source, 0.7, 0.3, checks)


def test_a_plain_round_commits_the_targets_token() -> None:
    running = sequence("abc")
    done = commit(running, draft(), verdict(0, 3, 0), LETTERS)
    assert (done.tokens, done.num_accepted, done.finish_reason, done.position, done.round) == ([3], 0, None, 0, 0)
    assert running.tokens == [0, 1, 2, 3]
    assert running.round == 1


def test_accepted_tokens_come_before_the_targets_own() -> None:
    running = sequence("abc")
    done = commit(running, draft(3, 4, 5), verdict(2, 6, 3), LETTERS)
    assert (done.tokens, done.num_accepted) == ([3, 4, 6], 2)
    assert commit(running, draft(), verdict(0, 7, 0), LETTERS).position == 3


@pytest.mark.parametrize(
    ("params", "tokens", "reason", "committed"),
    [
        ({}, (3, END, 5), "stop", [3, END]),
        ({"stop": ("de",)}, (3, 4, 5), "stop", [3, 4]),
        ({"max_tokens": 2}, (3, 4, 5), "length", [3, 4]),
        ({"max_tokens": 4}, (3, 4, 5), "length", [3, 4, 5, 6]),
        ({"max_tokens": 5}, (3, 4, 5), None, [3, 4, 5, 6]),
    ],
)
def test_the_text_ends_exactly_where_it_ends(
    params: dict[str, object], tokens: tuple[int, ...], reason: str | None, committed: list[int]
) -> None:
    running = sequence("abc", **params)
    done = commit(running, draft(*tokens), verdict(3, 6, 3), LETTERS)
    assert done.tokens == committed
    assert done.finish_reason == reason
    assert done.num_accepted == min(3, len(committed))
    assert running.tokens[3:] == committed


def events_of(tokens: tuple[int, ...], given: Verdict, **params: object) -> list[object]:
    running = sequence("abc", **params)
    proposed = draft(*tokens)
    done = commit(running, proposed, given, LETTERS)
    emit(running, proposed, given, done, LETTERS)
    running.emitter.finish()
    assert running.generation.tokens == done.tokens
    return list(running.emitter.take())


def test_events_tell_of_accepted_refused_and_discarded_tokens_in_order() -> None:
    found = events_of((3, 4, 5), verdict(1, 6, 3))
    kinds = [e.source if isinstance(e, TokenEvent) else e.reason for e in found]  # type: ignore[union-attr, attr-defined]
    assert kinds == [Source.ACCEPTED, Rejection.REFUSED, Rejection.DISCARDED, Source.RESAMPLED]
    accepted, refused, discarded, resampled = found
    assert isinstance(accepted, TokenEvent)
    assert (accepted.text, accepted.p, accepted.q, accepted.u, accepted.drafter) == ("d", 0.9, 0.5, 0.1, "model")
    assert isinstance(refused, RejectedEvent)
    assert (refused.text, refused.position, refused.p, refused.u) == ("e", 1, 0.2, 0.9)
    assert isinstance(discarded, RejectedEvent)
    assert (discarded.position, discarded.p, discarded.q) == (2, None, 0.5)
    assert isinstance(resampled, TokenEvent)
    assert (resampled.text, resampled.p, resampled.q, resampled.u, resampled.drafter) == ("g", 0.7, None, 0.3, None)


def test_what_stands_after_the_end_of_the_text_is_discarded() -> None:
    found = events_of((3, 4, 5), verdict(3, 6, 3), max_tokens=1)
    assert [type(event) for event in found] == [TokenEvent, RejectedEvent, RejectedEvent]
    assert {event.reason for event in found[1:]} == {Rejection.DISCARDED}  # type: ignore[attr-defined]
