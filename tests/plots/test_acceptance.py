"""Acceptance by place, calibration, and acceptance against a setting."""

from __future__ import annotations

import random
from typing import Any

import pytest

from exsa_lab import plots
from exsa_lab.events import Rejection, RoundEvent, Source
from exsa_lab.plots.acceptance import bin_confidences, count_places
from exsa_lab.plots.figure import wilson
from exsa_lab.trace.trace import Trace
from tests.widgets.fake import refused, token


def test_places_count_drafted_tested_and_accepted() -> None:
    rounds = [
        RoundEvent(i, k, accepted, k + 1, 1, 0, 0, 0)
        for i, (k, accepted) in enumerate([(3, 3), (3, 1), (2, 0), (0, 0)])
    ]
    places = count_places([Trace(list(rounds))])
    assert [tuple(place) for place in places] == [(1, 3, 3, 2), (2, 3, 2, 1), (3, 2, 1, 1)]
    figure = plots.acceptance_by_position(Trace(list(rounds)))
    assert figure.data[0].y == pytest.approx((2 / 3, 1 / 3, 1 / 2))
    assert figure.data[1].y == pytest.approx((2 / 3, 1 / 2, 1.0))


def test_calibration_counts_tested_tokens_of_the_model_only() -> None:
    values = {"q": 0.91, "drafter": "model"}
    events = [
        token(0, "a", Source.ACCEPTED, **values),
        token(1, "a", Source.ACCEPTED, **values),
        refused(2, "b", **values),
        refused(3, "b", **values, reason=Rejection.DISCARDED),
        token(2, "c", Source.RESAMPLED),
        token(3, "d", Source.ACCEPTED, q=1.0, drafter="ngram"),
        refused(4, "b", q=0.05, drafter="model"),
    ]
    low, high = bin_confidences([Trace(list(events))], 10)
    assert (low.tested, low.accepted) == (1, 0)
    assert (high.tested, high.accepted) == (3, 2)
    assert high.confidence == pytest.approx(0.91)


def test_a_calibrated_draft_lies_on_the_line() -> None:
    rng = random.Random(5)
    events = []
    for i in range(4000):
        q = rng.random()
        make = (
            token(i, "a", Source.ACCEPTED, q=q, drafter="model")
            if rng.random() < q
            else refused(i, "a", q=q, drafter="model")
        )
        events.append(make)
    for group in bin_confidences([Trace(list(events))], 10):
        low, high = wilson(group.accepted, group.tested, z=4)
        assert low <= group.confidence <= high


def test_acceptance_against_a_setting_counts_tested_tokens(gens: list[Any]) -> None:
    figure = plots.acceptance_against({0.8: gens[2:], 0.0: gens[:2]}, {"guess": {0.0: 0.4, 1.0: 0.6}})
    line, points = figure.data
    assert (line.x, line.y) == ((0.0, 1.0), (0.4, 0.6))
    assert points.x == (0.0, 0.8)
    for share, group in zip(points.y, (gens[:2], gens[2:]), strict=True):
        places = count_places([gen.trace for gen in group])
        assert share == sum(place.accepted for place in places) / sum(place.tested for place in places)
    assert figure._repr_mimebundle_()["text/plain"].splitlines()[1].split()[-1] == "guess"
    empty = plots.acceptance_against({0.0: []})
    assert empty.layout.annotations[0].text == "Nothing was drafted."
