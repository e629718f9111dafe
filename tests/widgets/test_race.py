"""The race: settings from keywords, saved traces without a model, and a page that counts as the traces do."""

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
from exsa_lab.testing import ScriptedModel, markov, scripted_engine
from exsa_lab.trace.trace import Trace
from exsa_lab.widgets.race import Race, race, settings_of
from exsa_lab.widgets.race_static import PARTS, static_html, static_text
from exsa_lab.widgets.scripts import WIDGET_VIEW
from tests.widgets.races import recorded


@pytest.fixture(scope="module")
def traces() -> dict[str, list[Trace]]:
    right, wrong = markov(12, 1), markov(12, 2)
    pieces = [f"{chr(97 + i)} " for i in range(12)]
    draft = ScriptedModel(pieces, lambda t: 0.7 * np.asarray(right(t)) + 0.3 * np.asarray(wrong(t)), step_s=0.001)
    options = {"max_tokens": 40, "chat": False}
    with scripted_engine(ScriptedModel(pieces, right, step_s=0.004), draft) as engine:
        settings = {"plain": {"draft_length": 0}, "three": {"draft_length": 3, "drafter": "model"}}
        return race("a b ", engine=engine, repeats=2, **settings, **options).traces


@pytest.fixture(autouse=True)
def _close_widgets() -> Iterator[None]:
    yield
    Widget.close_all()


def test_settings_are_keywords_and_parameters_go_for_all() -> None:
    assert settings_of({"a": {"draft_length": 0}, "b": {}, "max_tokens": 9}) == {
        "a": {"max_tokens": 9, "draft_length": 0},
        "b": {"max_tokens": 9},
    }
    assert settings_of({"logit_bias": {1: 2.0}}) == {
        "plain": {"logit_bias": {1: 2.0}, "draft_length": 0},
        "auto": {"logit_bias": {1: 2.0}},
    }
    with pytest.raises(ConfigError, match="max_token is neither") as raised:
        settings_of({"max_token": 9})
    assert "max_tokens" in str(raised.value)


def test_it_needs_a_prompt_or_traces_and_not_both() -> None:
    with pytest.raises(ConfigError, match="no prompt"):
        race()
    with pytest.raises(ConfigError, match="generate too"):
        race("text", traces={"a": recorded(), "b": recorded()})


def test_ratios_by_name(traces: dict[str, list[Trace]]) -> None:
    shown = Race.from_traces(traces)
    found = shown.ratio("three")
    assert found.runs == 2
    assert shown.ratio("three", "three").ratio == 1
    three, plain = ([run.stats["tokens_per_second"] for run in traces[name]] for name in ("three", "plain"))
    assert found.ratio == pytest.approx(sum(three) / sum(plain))
    with pytest.raises(ConfigError, match="'four'"):
        shown.ratio("four")


def test_saved_traces_need_no_model(traces: dict[str, list[Trace]], tmp_path: Path) -> None:
    paths = {name: str(runs[0].save(tmp_path / f"{name}.json")) for name, runs in traces.items()}
    code = (
        "import sys; import exsa_lab as xl;"
        f"xl.race(traces={{name: xl.Trace.load(path) for name, path in {paths!r}.items()}}).static();"
        "assert 'llama_cpp' not in sys.modules"
    )
    subprocess.run([sys.executable, "-W", "error", "-c", code], check=True)


def test_a_saved_notebook_keeps_the_end_of_the_race(traces: dict[str, list[Trace]], monkeypatch: Any) -> None:
    monkeypatch.delenv("VSCODE_PID", raising=False)
    shown = Race(traces)
    bundle = shown.bundle()
    assert set(bundle) == {"text/html", "text/plain"}
    assert "2 runs each" in bundle["text/html"]
    assert bundle["text/plain"] == static_text(shown.lanes)
    for part in PARTS:
        assert f"{part} {getattr(shown.lanes[0].parts, part + '_s'):.3f}" in bundle["text/plain"]
    monkeypatch.setenv("VSCODE_PID", "1")
    assert WIDGET_VIEW in shown.bundle()


def test_the_static_view_has_no_script_and_escapes_texts() -> None:
    evil = recorded(text="<img src=x onerror=alert(1)> and more of it.")
    html = static_html(Race({"<b>": evil, "b": evil}).lanes)
    tags = {"div", "img", "b", "code", "details", "summary"}
    assert set(re.findall(r"<(\w+)", html)) <= tags
    assert "onerror=alert(1)&gt;" in html
    assert "&lt;b&gt;" in html


# The page

LOAD = """async ([esm, css, race]) => {
  document.head.append(Object.assign(document.createElement("style"), { textContent: css }));
  const module = await import(URL.createObjectURL(new Blob([esm], { type: "text/javascript" })));
  const model = { get: (name) => ({ view_id: "v", race })[name], on: () => {}, off: () => {} };
  const widget = module.default();
  widget.initialize({ model });
  window.release = widget.render({ model, el: document.body });
}"""


def _load(page: Any, shown: Race) -> Any:
    page.evaluate(LOAD, [str(Race._esm), str(Race._css), json.loads(json.dumps(shown.race))])
    return page.locator(".exsa-race")


def _numbers(view: Any, lane: int) -> list[float]:
    return [float(cell) for cell in view.locator("tbody tr").nth(lane).locator("td:not(:has(div))").all_inner_texts()]


@pytest.mark.browser
def test_the_page_agrees_with_the_traces(page: Any, traces: dict[str, list[Trace]]) -> None:
    shown = Race(traces)
    view = _load(page, shown)
    for number, lane in enumerate(shown.lanes):
        *parts, total = _numbers(view, number)
        assert parts == pytest.approx([getattr(lane.parts, f"{part}_s") for part in PARTS], abs=0.0006)
        assert total == pytest.approx(lane.finish_s, abs=0.0006)
        label = view.get_by_role("listitem").nth(number).get_attribute("aria-label")
        assert label.startswith(f"{lane.name}: {len(lane.shown.tokens)} of {len(lane.shown.tokens)} tokens")
        assert f"{lane.shown.stats['tokens_per_second']:.1f} tok/s" in label
    texts = view.locator(".exsa-rc-text").all_inner_texts()
    assert [text.split() for text in texts] == [lane.shown.text.split() for lane in shown.lanes]


@pytest.mark.browser
def test_it_is_played_and_scrubbed_with_the_keyboard(page: Any, traces: dict[str, list[Trace]]) -> None:
    view = _load(page, Race(traces))
    slider = view.get_by_role("slider", name="Position in the run")
    page.keyboard.press("Tab")
    page.keyboard.press("Home")
    assert slider.input_value() == "0"
    assert _numbers(view, 0) == [0] * 6
    assert "0 of 40 tokens · reads the prompt" in view.inner_text()
    page.keyboard.press("PageDown")
    page.keyboard.press("ArrowRight")
    assert int(slider.input_value()) == pytest.approx(int(slider.get_attribute("max")) * 11 / 200, abs=1)
    view.get_by_role("combobox", name="Speed").select_option(label="5 times real time")
    page.locator(".exsa-race").focus()
    page.keyboard.press(" ")
    page.wait_for_function("document.querySelector('.exsa-race .play').textContent === 'Play'")
    page.wait_for_function("document.querySelector('.exsa-race input').value > 0")
    assert "Play" in view.inner_text()


@pytest.mark.browser
def test_a_draft_is_pale_until_it_is_kept_or_struck(page: Any) -> None:
    shown = Race({"one": recorded(), "two": recorded(factor=2)})
    view = _load(page, shown)
    text = view.locator(".exsa-rc-text").first
    page.locator(".exsa-race").focus()
    page.keyboard.press("Home")
    first = shown.lanes[0].shown.rounds[1]
    slider = view.locator("input[type=range]")
    go = "(slider, at) => { slider.value = at; slider.dispatchEvent(new Event('input')); }"
    slider.evaluate(go, 1000 * (first.time_s - 0.001))
    assert text.locator(".open").count() == first.k
    slider.evaluate(go, 1000 * (first.time_s + 0.001))
    assert text.locator(".a").count() == first.accepted
    assert text.locator(".exsa-rc-gone:visible").count() == first.k - first.accepted
    page.keyboard.press("End")
    assert text.locator(".exsa-rc-gone:visible").count() == 0


@pytest.mark.browser
def test_nothing_moves_for_those_who_want_less_motion(page: Any) -> None:
    page.emulate_media(reduced_motion="reduce")
    view = _load(page, Race({"one": recorded(), "two": recorded(factor=2)}))
    view.evaluate("root => root.classList.add('playing')")
    page.locator(".exsa-race").focus()
    page.keyboard.press("Home")
    names = view.evaluate("""(root) => {
      const mark = root.querySelector('.exsa-rc-tail').appendChild(document.createElement('span'));
      mark.className = 'exsa-mk open fly';
      return getComputedStyle(mark).animationName;
    }""")
    assert names == "none"


@pytest.mark.browser
def test_model_output_is_text(page: Any) -> None:
    evil = recorded(text="<img src=x onerror=alert(1)> and more of it.")
    view = _load(page, Race({"<b>bold</b>": evil, "b": evil}))
    assert view.locator("img, b:text-is('bold')").count() == 0
    assert "<img src=x onerror=alert(1)>" in view.inner_text()
