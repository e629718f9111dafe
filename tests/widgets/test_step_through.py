"""The step-through needs a trace and no model; its static view tells every round, its page counts as the engine did."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ipywidgets import Widget

from exsa_lab.errors import ConfigError
from exsa_lab.events import Source
from exsa_lab.testing import ScriptedModel, markov, scripted_engine
from exsa_lab.trace.trace import Trace
from exsa_lab.widgets.run import run_of
from exsa_lab.widgets.scripts import WIDGET_VIEW
from exsa_lab.widgets.step_static import static_html, static_text
from exsa_lab.widgets.step_through import StepThrough
from tests.widgets.fake import refused, round_event, token


@pytest.fixture(scope="module")
def trace() -> Trace:
    right, wrong = markov(12, 1), markov(12, 2)
    pieces = [chr(97 + i) for i in range(12)]
    draft = ScriptedModel(pieces, lambda tokens: 0.6 * np.asarray(right(tokens)) + 0.4 * np.asarray(wrong(tokens)))
    with scripted_engine(ScriptedModel(pieces, right), draft) as engine:
        options = {"max_tokens": 40, "temperature": 0.9, "seed": 4, "chat": False, "drafter": "model"}
        return engine.generate("abcab", draft_length=3, **options).trace


@pytest.fixture(autouse=True)
def _close_widgets() -> Iterator[None]:
    yield
    Widget.close_all()


def test_static_view_tells_every_round(trace: Trace) -> None:
    lines = static_text(trace).splitlines()
    assert len(lines) == 1 + len(trace.rounds)
    for event, line in zip(trace.rounds, lines[1:], strict=True):
        assert line.count("✓") == event.accepted
        assert line.count("✗") + line.count("·") == event.k - event.accepted
        assert "instead" in line or "✗" not in line


def test_static_view_is_script_free_and_escapes_texts() -> None:
    events = [token(0, "<script>alert(1)</script>"), refused(1, "</ol><img onerror=x>"), round_event(0, 1, 0, 0.1)]
    html = static_html(Trace(list(events)))
    assert set(re.findall(r"<(\w+)", html)) <= {"div", "ol", "li", "p"}
    assert "&lt;script&gt;" in html


def test_a_saved_notebook_keeps_the_static_view_alone(trace: Trace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("VSCODE_PID", raising=False)
    view = StepThrough(trace)
    bundle, _ = view._repr_mimebundle_()
    assert set(bundle) == {"text/html", "text/plain"}
    assert view.view_id in bundle["text/html"]
    monkeypatch.setenv("VSCODE_PID", "1")
    assert WIDGET_VIEW in view._repr_mimebundle_()[0]


def test_anything_else_is_refused() -> None:
    with pytest.raises(ConfigError, match="neither"):
        StepThrough("text")


def test_no_model_runtime_is_needed(trace: Trace, tmp_path: Path) -> None:
    path = trace.save(tmp_path / "run.json")
    code = (
        "import sys; from exsa_lab.trace.trace import Trace; from exsa_lab.widgets.step_through import StepThrough;"
        f"StepThrough(Trace.load({str(path)!r})); assert 'llama_cpp' not in sys.modules"
    )
    subprocess.run([sys.executable, "-W", "error", "-c", code], check=True)


# The page

LOAD = """async ([esm, run]) => {
  const module = await import(URL.createObjectURL(new Blob([esm], { type: "text/javascript" })));
  const model = { get: (name) => ({ view_id: "v", run })[name], on: () => {}, off: () => {} };
  const widget = module.default();
  widget.initialize({ model });
  window.release = widget.render({ model, el: document.body });
}"""


@pytest.fixture
def page(browser: Any) -> Iterator[Any]:
    page = browser.new_page(viewport={"width": 900, "height": 600})
    page.set_default_timeout(60_000)
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    yield page
    page.close()
    assert errors == []


def _load(page: Any, trace: Trace) -> Any:
    page.evaluate(LOAD, [str(StepThrough._esm), json.loads(json.dumps(run_of(trace)))])
    return page.locator(".exsa-steps")


def _read_step_by_step(page: Any, view: Any) -> str:
    """Go through all steps with the keyboard; returns what was said at each."""
    view.focus()
    page.keyboard.press("Home")
    words = []
    for _ in range(int(view.locator("input[type=range]").get_attribute("max"))):
        page.keyboard.press("ArrowRight")
        words.append(view.locator(".exsa-st-words").inner_text())
    return "\n".join(words)


@pytest.mark.browser
def test_the_page_ends_with_the_whole_text_and_the_right_cells(page: Any, trace: Trace) -> None:
    view = _load(page, trace)
    view.focus()
    page.keyboard.press("End")

    assert view.locator(".exsa-st-text").inner_text().replace(trace.prompt, "").strip() == trace.text.strip()
    tokens = trace.stats["prompt_tokens"] + trace.stats["generated_tokens"]
    last = trace.rounds[-1]
    assert view.locator(".exsa-st-cache b").first.inner_text() == f"{tokens - 1:.0f} cells"  # none for the newest token
    assert f"round {last.round} of {last.round}" in view.inner_text()


@pytest.mark.browser
def test_stepping_through_with_keys_visits_every_draft_token(page: Any, trace: Trace) -> None:
    view = _load(page, trace)
    text = _read_step_by_step(page, view)
    assert text.count("The draft model proposes") == trace.stats["drafted_tokens"]
    assert len(re.findall(r"is accepted|always accepted", text)) == trace.stats["accepted_tokens"]
    assert text.count("from the residual") == sum("✗" in line for line in static_text(trace).splitlines()[1:])
    page.keyboard.press("Home")
    assert "reads the prompt (5 tokens)" in view.inner_text()
    page.keyboard.press("PageDown")
    assert "round 1 of" in view.inner_text()


@pytest.mark.browser
def test_play_runs_to_the_end_and_can_be_paused(page: Any, trace: Trace) -> None:
    view = _load(page, trace)
    view.locator("select").select_option(label="very fast")
    view.focus()
    page.keyboard.press(" ")
    view.get_by_role("button", name="Play or pause").and_(view.get_by_text("Pause")).wait_for()
    page.keyboard.press(" ")
    view.get_by_text("Play", exact=True).wait_for()
    page.keyboard.press("End")
    page.keyboard.press("ArrowLeft")
    page.keyboard.press(" ")
    view.get_by_text("Play", exact=True).wait_for()
    slider = view.locator("input[type=range]")
    assert slider.input_value() == slider.get_attribute("max")


@pytest.mark.browser
def test_model_output_is_text(page: Any) -> None:
    events = [token(0, "<img src=x onerror=alert(1)>"), round_event(0, 0, 0, 0.1)]
    view = _load(page, Trace(list(events), prompt="<b>bold</b>"))
    page.keyboard.press("End")
    assert view.locator("img, b:has-text('bold')").count() == 0
    assert "<b>bold</b>" in view.inner_text()


@pytest.mark.browser
def test_a_run_without_rounds_says_so(page: Any) -> None:
    assert "no rounds" in _load(page, Trace([])).inner_text()


@pytest.mark.browser
def test_probabilities_that_were_not_computed_are_dashes(page: Any) -> None:
    drafted = [token(1, "b", Source.ACCEPTED, p=None, round=1), refused(2, "x", p=None, q=None, u=None)]
    events = [
        token(0, "a", p=None),
        round_event(0, 0, 0, 0.1),
        *drafted,
        token(2, "c", Source.RESAMPLED, p=None, round=1),
    ]
    view = _load(page, Trace([*events, round_event(1, 2, 1, 0.2)], params={"temperature": 0.0}))
    text = _read_step_by_step(page, view)
    assert "“b” is the target's first choice: accepted." in text
    assert "“x” is not the target's first choice: refused." in text
    assert "the target's first choice: “c”." in text
    assert not re.search(r"null|NaN|0\.000", text + view.inner_text())
