"""Figures show the numbers of the traces they are given; they are self-contained and take texts as text."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from exsa_lab import plots
from exsa_lab.costs.model import CostModel
from exsa_lab.engine.engine import Engine
from exsa_lab.errors import ConfigError
from exsa_lab.events import Rejection, RoundEvent, Source
from exsa_lab.plots.acceptance import bin_confidences, count_places
from exsa_lab.plots.figure import PLOTLY, label, wilson
from exsa_lab.plots.rounds import split_times
from exsa_lab.testing import ScriptedModel, markov, scripted_engine
from exsa_lab.trace.trace import Trace
from tests.widgets.fake import refused, token

EVIL = "<script>alert(1)</script><a href='https://example.org'>x</a>"


@pytest.fixture(scope="module")
def engine() -> Iterator[Engine]:
    right, wrong = markov(20, 1), markov(20, 2)
    pieces = [chr(97 + i) for i in range(20)]
    draft = ScriptedModel(pieces, lambda tokens: 0.7 * np.asarray(right(tokens)) + 0.3 * np.asarray(wrong(tokens)))
    with scripted_engine(ScriptedModel(pieces, right), draft, n_seq_max=4) as engine:
        yield engine


@pytest.fixture(scope="module")
def gens(engine: Engine) -> list[Any]:
    options = {"max_tokens": 60, "chat": False, "drafter": "model", "progress": False}
    greedy = engine.map(["abc", "bcd"], draft_length=4, **options)
    return [*greedy, *engine.map(["abc"], draft_length=3, temperature=0.8, seed=1, **options)]


@pytest.fixture
def costs() -> CostModel:
    return CostModel.from_measurements({1: 0.01, 2: 0.012, 4: 0.016, 8: 0.03, 16: 0.06}, {1: 0.001})


def _every_figure(gens: list[Any], costs: CostModel) -> dict[str, Any]:
    return {
        "place": plots.acceptance_by_position(gens),
        "calibration": plots.calibration(gens),
        "rounds": plots.round_times(gens[0]),
        "lengths": plots.draft_lengths(gens[0], costs=costs),
        "costs": plots.cost_curve(costs, gens),
        "map": plots.speed_up_map(costs, gens),
        "region": plots.accept_region({0: 0.6, 1: 0.4}, {0: 0.2, 2: 0.8}, names={0: EVIL}, drafted=0),
        "next": plots.next_token({EVIL: {0: 0.6, 1: 0.4}, "b": {0: 1.0}}, names={0: EVIL}),
        "against": plots.acceptance_against({0.0: gens[:2], 0.8: gens[2:]}, {EVIL: {0.0: 0.5, 1.0: 0.6}}, setting=EVIL),
        "compare": plots.compare(gens[:2], gens[1:], names=(EVIL, "b")),
        "load": plots.concurrency({1: gens[:1], 2: gens[1:]}),
    }


def test_what_a_notebook_keeps_needs_no_server_and_no_script(gens: list[Any], costs: CostModel) -> None:
    for name, figure in _every_figure(gens, costs).items():
        bundle = figure._repr_mimebundle_()
        assert set(bundle) == {PLOTLY, "text/html", "text/plain"}, name
        assert json.loads(json.dumps(bundle[PLOTLY]))["data"], name
        assert "<script" not in bundle["text/html"], name
        assert "http" not in bundle["text/html"].replace("&lt;a href=&#x27;https", ""), name
        assert len(bundle["text/plain"].splitlines()) > 2, name


def test_figures_are_transparent_and_texts_are_escaped(gens: list[Any], costs: CostModel) -> None:
    for name, figure in _every_figure(gens, costs).items():
        data = json.dumps(figure._repr_mimebundle_()[PLOTLY])
        assert "<script" not in data, name
        assert "<a href" not in data, name
        assert figure.layout.template.layout.paper_bgcolor == "rgba(0,0,0,0)", name


def test_displaying_gives_the_bundle_and_no_plotly_renderer(gens: list[Any]) -> None:
    from IPython.core.formatters import DisplayFormatter

    data, _ = DisplayFormatter().format(plots.acceptance_by_position(gens))
    assert set(data) == {PLOTLY, "text/html", "text/plain"}


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


def test_round_times_add_up_to_the_clock(gens: list[Any]) -> None:
    trace = gens[0].trace
    times = split_times(trace)
    first, last = trace.rounds[0], trace.rounds[-1]
    elapsed = last.time_s + last.sample_s - first.time_s
    later = times[1:]
    assert sum(sum(t[1:5]) for t in later) + first.sample_s == pytest.approx(elapsed, abs=1e-3)
    assert times[0].gap_s == 0


def test_draft_lengths_are_those_of_the_replay(gens: list[Any], costs: CostModel) -> None:
    trace = gens[0].trace
    figure = plots.draft_lengths(trace, longest=6, costs=costs)
    assert figure.data[0].y == pytest.approx([trace.replay(k).tokens_per_round for k in range(7)])
    assert figure.data[0].marker.symbol[4] == "circle"
    assert figure.data[1].y[0] == pytest.approx(1.0)


def test_cost_curve_marks_what_cannot_win() -> None:
    steep = CostModel.from_measurements({1: 0.01, 16: 0.2}, {1: 0.001})
    figure = plots.cost_curve(steep)
    bars = next(trace for trace in figure.data if trace.type == "bar")
    assert set(bars.text) == {"cannot"}
    assert set(bars.marker.pattern.shape) == {"x"}


def test_the_accept_region_adds_up() -> None:
    figure = plots.accept_region({0: 0.5, 1: 0.5}, {0: 0.2, 1: 0.7, 2: 0.1}, names={0: "a", 1: "b", 2: "c"})
    rows = {row[0]: row[1:] for row in figure._rows}
    assert rows["a"] == pytest.approx((0.5, 0.2, 0.2, 0.3, 0.0))
    assert rows["b"] == pytest.approx((0.5, 0.7, 0.5, 0.0, 0.2))
    assert rows["c"] == pytest.approx((0.0, 0.1, 0.0, 0.0, 0.1))
    assert "0.70" in figure.layout.title.text


def test_next_token_draws_the_most_probable_of_any_setting() -> None:
    figure = plots.next_token(
        {"one": {0: 0.5, 1: 0.3, 2: 0.2}, "two": {3: 0.9, 0: 0.1}}, names="abcd".__getitem__, most=2
    )
    assert figure.data[0].x == figure.data[1].x == ("'d'", "'a'")
    assert [bar.y for bar in figure.data] == [(0.0, 0.5), (0.9, 0.1)]
    assert [bar.name for bar in figure.data] == ["one (3 tokens)", "two (2 tokens)"]


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


def test_bootstrap_finds_a_difference_and_none() -> None:
    rng = np.random.default_rng(3)
    a = rng.normal(100, 5, 30)
    ratio, low, high = plots.bootstrap_ratio(a, a * 1.1, paired=True)
    assert ratio == pytest.approx(1.1)
    assert (low, high) == pytest.approx((1.1, 1.1))
    _, low, high = plots.bootstrap_ratio(a, rng.normal(100, 5, 30))
    assert low < 1 < high
    _, low, high = plots.bootstrap_ratio(a, rng.normal(120, 5, 30))
    assert 1.1 < low < 1.2 < high < 1.3
    for wrong in (([], [1.0], False), ([1.0, 2.0], [1.0], True)):
        with pytest.raises(ValueError, match="compared"):
            plots.bootstrap_ratio(wrong[0], wrong[1], paired=wrong[2])


def test_bootstrap_intervals_cover_the_truth() -> None:
    rng = np.random.default_rng(11)
    covered = 0
    for i in range(200):
        a, b = rng.normal(10, 1, 25), rng.normal(12, 1, 25)
        _, low, high = plots.bootstrap_ratio(a, b, samples=400, seed=i)
        covered += low <= 1.2 <= high
    assert 175 <= covered <= 200


def test_concurrency_uses_all_requests(gens: list[Any]) -> None:
    load = plots.concurrency_records({2: gens[:2]})[0]
    wall = max(gen.trace.rounds[-1].time_s for gen in gens[:2])
    assert load.tokens_per_second == pytest.approx(120 / wall)
    assert load.ttft_p50 <= load.ttft_p95
    assert load.gap_p50 <= load.gap_p95


def test_empty_and_wrong_sources() -> None:
    empty = Trace([])
    assert "Nothing was drafted." in plots.acceptance_by_position(empty).layout.annotations[0].text
    assert plots.calibration(empty).layout.annotations
    plots.round_times(empty)
    for wrong in (3, "text", [1]):
        with pytest.raises(ConfigError, match="neither"):
            plots.acceptance_by_position(wrong)
    with pytest.raises(ConfigError, match="nothing to compare"):
        plots.compare([], [empty])


def test_labels_show_control_characters() -> None:
    assert label("a<b>\x1b[0m\u202e") == "a&lt;b&gt;␛[0m⟨U+202E⟩"


def test_public_names_are_there() -> None:
    for name in plots.__all__:
        assert getattr(plots, name) is not None
    with pytest.raises(AttributeError):
        plots.no_such_plot  # noqa: B018
