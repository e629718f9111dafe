"""Live views in a real browser when the notebook draws their output anew: who uses one is not thrown out of it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from ipywidgets import Widget

from exsa_lab.widgets.explore import Explorer
from tests.widgets.widget_page import load

pytestmark = pytest.mark.browser

# Elements are removed and added in one task, as JupyterLab's HTML renderer does it.
REDRAW = "id => { document.getElementById('out').innerHTML = `<exsa-view data-view=${id}><p>static</p></exsa-view>` }"
LISTENERS = "() => Object.values(listeners).flat().length"


@pytest.fixture
def view(page: Any) -> Iterator[Explorer]:
    view = Explorer(machine="H100", acceptance=0.7)
    load(page, view)
    yield view
    Widget.close_all()


def test_keys_go_on_where_the_output_is_drawn_anew(page: Any, view: Explorer) -> None:
    slider = page.get_by_label("acceptance rate a")
    slider.focus()
    for at in ("0.71", "0.72"):
        page.keyboard.press("ArrowRight")
        page.evaluate(REDRAW, view.view_id)
        assert slider.input_value() == at
        assert slider.evaluate("slider => slider === document.activeElement")
    assert not page.get_by_text("static").is_visible()


def test_what_was_opened_and_scrolled_stays(page: Any, view: Explorer) -> None:
    page.get_by_text("All draft lengths as a table").click()
    table = page.locator(".exsa-explore details")
    table.evaluate("el => Object.assign(el.style, { height: '80px', overflow: 'auto' })")
    table.evaluate("el => { el.scrollTop = 40 }")
    page.evaluate("() => new Promise(requestAnimationFrame)")  # which brings the scroll event
    page.evaluate(REDRAW, view.view_id)
    assert table.evaluate("el => [el.open, el.scrollTop]") == [True, 40]


def test_the_focus_is_not_taken_from_elsewhere(page: Any, view: Explorer) -> None:
    slider = page.get_by_label("acceptance rate a")
    slider.focus()
    page.evaluate("document.body.append(document.createElement('textarea'))")
    page.locator("textarea").focus()
    page.evaluate(REDRAW, view.view_id)
    assert page.locator("textarea").evaluate("el => el === document.activeElement")
    slider.focus()
    page.evaluate("document.activeElement.blur()")
    page.evaluate("() => new Promise((done) => setTimeout(done))")
    page.evaluate(REDRAW, view.view_id)
    assert page.evaluate("document.activeElement === document.body")


def test_a_view_that_is_gone_for_good_ends_and_another_begins(page: Any, view: Explorer) -> None:
    heard = page.evaluate(LISTENERS)
    assert heard > 0
    page.evaluate("document.getElementById('out').replaceChildren()")
    page.wait_for_function(f"({LISTENERS})() === 0")
    page.evaluate(REDRAW, view.view_id)
    assert page.locator(".exsa-explore").count() == 1
    assert page.evaluate(LISTENERS) == heard


def test_several_outputs_of_one_view_live_side_by_side(page: Any, view: Explorer) -> None:
    one = f"<exsa-view data-view={view.view_id}><p>static</p></exsa-view>"
    page.evaluate("html => { document.getElementById('out').innerHTML = html }", one * 2)
    assert page.locator("exsa-view .exsa-explore").count() == 2
    page.get_by_label("acceptance rate a").last.focus()
    page.evaluate("html => { document.getElementById('out').innerHTML = html }", one * 2)
    assert page.locator("exsa-view .exsa-explore").count() == 2
    page.evaluate("close()")
    assert page.locator(".exsa-explore").count() == 0
    assert page.get_by_text("static").count() == 2
