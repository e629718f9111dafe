"""Every view, light and dark, 900 and 2,000 px wide: contrast, names of what can be operated, nothing cut off."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from ipywidgets import Widget

from exsa_lab import loading
from exsa_lab.testing import ScriptedModel, markov, scripted_engine
from exsa_lab.widgets.explore import Explorer
from exsa_lab.widgets.live import LiveWidget
from exsa_lab.widgets.playground import play
from exsa_lab.widgets.race import Race
from exsa_lab.widgets.step_through import StepThrough
from exsa_lab.widgets.timeline import BatchTimeline
from exsa_lab.widgets.token_strip import TokenStrip
from tests.widgets.widget_page import CONTRAST, load

pytestmark = pytest.mark.browser

PIECES = [f" {letter * 3}" for letter in "abcdefghijkl"]
WIDTHS = (900, 2000)
SCHEMES = ("light", "dark")
OPERABLE = "button, input, select, summary, [role=button], [role=slider], [tabindex='0']"
NAMELESS = f"""(root) => [...root.querySelectorAll("{OPERABLE}")]
  .filter((el) => el.checkVisibility({{ visibilityProperty: true }}))
  .filter((el) => !(el.ariaLabel || el.getAttribute("aria-label") || el.title || el.textContent.trim() ||
    el.closest("label")?.textContent.trim() || el.labels?.length))
  .map((el) => el.outerHTML.slice(0, 120))"""
TOO_WIDE = "() => document.documentElement.scrollWidth - innerWidth"


@pytest.fixture(scope="module")
def engine() -> Iterator[Any]:
    right, wrong = markov(len(PIECES), 1), markov(len(PIECES), 2)
    draft = ScriptedModel(PIECES, lambda tokens: 0.6 * right(tokens) + 0.4 * wrong(tokens))
    engine = scripted_engine(ScriptedModel(PIECES, right), draft, n_seq_max=3)
    loading.use(engine)
    yield engine
    loading.unload()
    Widget.close_all()


def _run(engine: Any, **params: Any) -> Any:
    asked = {"max_tokens": 40, "draft_length": 3, "drafter": "model", "chat": False, "temperature": 0.9, "seed": 1}
    return engine.generate(" aaa bbb", **(asked | params))


def _strip(engine: Any) -> LiveWidget:
    strip = TokenStrip(_run(engine, top_logprobs=3))
    strip.feed.wait(60)
    return strip


def _race(engine: Any) -> LiveWidget:
    return Race({"plain": _run(engine, draft_length=0).trace, "drafted": _run(engine).trace})


def _timeline(engine: Any) -> LiveWidget:
    generations = [engine.submit(" aaa bbb ccc", max_tokens=12 + 4 * i, chat=False) for i in range(4)]
    for generation in generations:
        generation.wait(60)
    return BatchTimeline(generations)


VIEWS: dict[str, Callable[[Any], LiveWidget]] = {
    "strip": _strip,
    "steps": lambda engine: StepThrough(_run(engine)),
    "race": _race,
    "timeline": _timeline,
    "explorer": lambda engine: Explorer(engine, machine="H100"),
    "playground": lambda engine: play(" aaa bbb", chat=False),
}


@pytest.mark.parametrize("name", VIEWS)
def test_a_view_can_be_read_and_operated_by_everyone(page: Any, engine: Any, name: str) -> None:
    widget = VIEWS[name](engine)
    load(page, widget)
    if name == "timeline":
        widget.stop()  # type: ignore[attr-defined]
        message = {"type": "rows", "seq": 0, "reset": True, "rows": widget.rows}  # type: ignore[attr-defined]
        page.evaluate("(message) => model.emit('msg:custom', message)", json.loads(json.dumps(message)))
    root = page.locator("#out")
    assert root.inner_text().strip()
    for width in WIDTHS:
        page.set_viewport_size({"width": width, "height": 800})
        for scheme in SCHEMES:
            page.emulate_media(color_scheme=scheme)
            page.wait_for_timeout(50)
            assert root.evaluate(CONTRAST) == [], (width, scheme)
        assert page.evaluate(TOO_WIDE) <= 0, width
    assert root.evaluate(NAMELESS) == []
