"""The explorer's page in a real browser: it computes, listens to keys and to dragging, and needs no kernel for it."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ipywidgets import Widget

from exsa_lab.costs.model import CostModel
from exsa_lab.trace.measured import MeasuredSpeed
from exsa_lab.widgets.explore import Explorer
from tests.widgets.widget_page import CONTRAST, load

pytestmark = pytest.mark.browser

POINTS = [MeasuredSpeed("k = 2", 2, 0.9, 0.85, 0.96, 3, 0.7), MeasuredSpeed("auto", 4.5, 1.2, 1.2, 1.2, 1, 0.8)]
COSTS = CostModel.from_measurements({1: 0.01, 4: 0.012, 8: 0.02, 16: 0.04}, {1: 0.001, 16: 0.004})


@pytest.fixture(autouse=True)
def _close() -> Iterator[None]:
    yield
    Widget.close_all()


class _Engine:
    """An engine that ran something, as far as the explorer looks at it."""

    costs = COSTS
    generations: list[Any] = []  # noqa: RUF012
    model_names = {"target": "<b>target</b>", "draft": "draft"}  # noqa: RUF012


@pytest.fixture
def view() -> Explorer:
    view = Explorer(_Engine(), acceptance=0.7)  # type: ignore[arg-type]
    view.points = [{name: getattr(point, name) for name in point.__slots__} for point in POINTS]
    view.compared_with = "the median of 3 plain runs (99.0 tok/s)"
    return view


def readout(page: Any, name: str) -> str:
    return str(page.locator(".exsa-ex-readout > div").filter(has_text=name).locator("b").inner_text())


def test_the_page_shows_what_python_computes(page: Any, view: Explorer) -> None:
    load(page, view)
    slider = page.get_by_label("draft length k")
    for k in (0, 3, 7):
        slider.fill(str(k))
        assert readout(page, "speed-up") == f"x{view.speed_up(k):.2f}"
    assert f"k = {view.best_length} " in readout(page, "best draft length")
    page.get_by_label("cost curve of").select_option("H100, target x10")
    view.machine = "H100, target x10"
    assert readout(page, "speed-up") == f"x{view.speed_up(7):.2f}"
    assert page.evaluate("model.data.draft_cost") == pytest.approx(view.draft_cost, rel=1e-4)


def test_keys_move_the_knobs_and_the_kernel_hears_the_end_of_it(page: Any, view: Explorer) -> None:
    load(page, view)
    slider = page.get_by_label("acceptance rate a")
    slider.focus()
    page.keyboard.press("End")
    assert page.evaluate("model.saved.at(-1).acceptance") == 1
    assert slider.get_attribute("aria-valuetext") == "100 %"
    page.keyboard.press("Tab")
    page.keyboard.press("Home")
    assert page.evaluate("model.saved.at(-1).draft_length") == 0
    assert "speed-up x1.00" in page.get_by_role("status").inner_text()
    page.get_by_label("sequences at once").focus()
    page.keyboard.press("ArrowRight")
    assert page.evaluate("model.saved.at(-1).sequences") == 2


def test_k_is_dragged_in_the_chart(page: Any, view: Explorer) -> None:
    load(page, view)
    box = page.locator(".exsa-ex-chart svg").bounding_box()
    left, width = box["x"] + 48, box["width"] - 62
    page.mouse.move(left + width * 2 / 16, box["y"] + 100)
    page.mouse.down()
    page.mouse.move(left + width * 11 / 16, box["y"] + 120, steps=4)
    page.mouse.up()
    assert page.evaluate("model.data.draft_length") == 11
    assert page.evaluate("model.saved.length") == 1
    assert page.get_by_label("draft length k").input_value() == "11"


def test_points_are_of_this_machine_and_one_sequence(page: Any, view: Explorer) -> None:
    load(page, view)
    points = page.locator(".exsa-ex-chart .point")
    assert points.count() == 2
    assert "k = 2 x0.90 (0.85 to 0.96 in 3 runs" in page.locator(".exsa-ex-points").inner_text()
    page.get_by_label("cost curve of").select_option("H100")
    assert points.count() == 0
    assert "of this machine" in page.locator(".exsa-ex-points").inner_text()


def test_names_are_text_and_a_broken_state_does_no_harm(page: Any, view: Explorer) -> None:
    load(page, view)
    assert page.locator(".exsa-ex-note b").count() == 0
    assert "<b>target</b>" in page.locator(".exsa-ex-note").inner_text()
    page.evaluate("model.set({ machine: 'gone', acceptance: 'x', draft_length: 99, sequences: -3 })")
    assert re.match(r"x\d", readout(page, "speed-up"))
    page.evaluate("release()")
    assert page.locator(".exsa-explore").count() == 0


@pytest.mark.parametrize("width", [900, 2000])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_reads_in_both_themes_at_any_width(page: Any, view: Explorer, scheme: str, width: int) -> None:
    page.emulate_media(color_scheme=scheme)
    page.set_viewport_size({"width": width, "height": 640})
    load(page, view)
    assert page.locator(".exsa-explore").evaluate(CONTRAST) == []
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    if folder := os.environ.get("EXSA_SHOTS"):
        page.screenshot(path=Path(folder) / f"explore-{scheme}-{width}.png")
