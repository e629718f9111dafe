"""Figures as notebooks keep them, and their labels."""

from __future__ import annotations

import json
from typing import Any

from exsa_lab import plots
from exsa_lab.costs.model import CostModel
from exsa_lab.pictures import PAPER
from exsa_lab.plots.figure import PLOTLY, label

EVIL = "<script>alert(1)</script><a href='https://example.org'>x</a>"


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


def test_figures_bring_their_paper_and_texts_are_escaped(gens: list[Any], costs: CostModel) -> None:
    for name, figure in _every_figure(gens, costs).items():
        data = json.dumps(figure._repr_mimebundle_()[PLOTLY])
        assert "<script" not in data, name
        assert "<a href" not in data, name
        assert figure.layout.template.layout.paper_bgcolor == PAPER, name


def test_displaying_gives_the_bundle_and_no_plotly_renderer(gens: list[Any]) -> None:
    from IPython.core.formatters import DisplayFormatter

    data, _ = DisplayFormatter().format(plots.acceptance_by_position(gens))
    assert set(data) == {PLOTLY, "text/html", "text/plain"}


def test_labels_show_control_characters() -> None:
    assert label("a<b>\x1b[0m\u202e") == "a&lt;b&gt;␛[0m⟨U+202E⟩"
