"""A page of recorded runs, opened from a file in a real browser: it needs nothing else, and allows nothing else."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ipywidgets import Widget

from exsa_lab.errors import ConfigError
from exsa_lab.trace.trace import Trace
from exsa_lab.widgets.page import page_html
from exsa_lab.widgets.race import Race
from exsa_lab.widgets.run import run_of
from tests.widgets.fake import PROSE
from tests.widgets.races import recorded

EVIL = "</script><script>alert(1)</script><img src=x onerror=alert(1)> <!-- & more of it."


@pytest.fixture(autouse=True)
def _close_widgets() -> Iterator[None]:
    yield
    Widget.close_all()


def test_it_names_no_other_place_and_allows_no_other_script() -> None:
    html = page_html("A run", [run_of(recorded())])
    assert not re.search(r"https?:|\bsrc=|\bhref=|@import|url\((?!#)", html)
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', html)
    assert policy is not None
    assert policy[1].startswith("default-src 'none'; script-src 'sha256-")
    assert "unsafe" not in policy[1]
    assert html.count("<script") == html.count("</script>") == 2


def test_texts_cannot_leave_their_block() -> None:
    html = page_html(EVIL, [run_of(recorded(text=EVIL))])
    assert html.count("<script") == html.count("</script>") == 2
    assert "<img" not in html
    block = re.search(r'<script type="application/json" id="exsa-runs">(.*?)</script>', html)
    assert block is not None
    data = json.loads(block[1])
    assert data["title"] == EVIL
    assert "".join(row[2] for row in data["runs"][0]["rows"] if row[0] in "tabr") == EVIL


def test_a_run_of_500_tokens_stays_far_below_a_megabyte(tmp_path: Path) -> None:
    trace = recorded(text=PROSE * 8)
    assert len(trace.tokens) > 500
    path = Race({"one": trace, "two": trace}).to_html(tmp_path / "race.html")
    assert path.stat().st_size < 1_000_000


def test_what_cannot_be_written_is_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="could not be saved"):
        recorded().to_html(tmp_path / "nowhere" / "run.html")


# In a browser


@pytest.fixture
def file_page(browser: Any) -> Iterator[Any]:
    page = browser.new_page(viewport={"width": 900, "height": 700})
    page.set_default_timeout(60_000)
    problems: list[str] = []
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.on("console", lambda message: problems.append(message.text))  # violations of the policy among them
    page.on("request", lambda request: request.url.startswith("file:") or problems.append(request.url))
    yield page
    page.close()
    assert problems == []


@pytest.mark.browser
def test_a_trace_opens_from_a_file(file_page: Any, tmp_path: Path) -> None:
    trace: Trace = recorded()
    file_page.goto(trace.to_html(tmp_path / "run.html").as_uri())
    assert file_page.title() == "Why is the sky blue?"
    kept = file_page.locator(".exsa-text .exsa-tok:not(.x, .d)")
    assert kept.count() == len(trace.tokens)
    file_page.locator(".exsa-steps").focus()
    file_page.keyboard.press("Home")
    file_page.keyboard.press("PageDown")
    assert "round 1 of" in file_page.locator(".exsa-steps").inner_text()
    kept.nth(1).focus()
    assert "round 1" in file_page.locator(".exsa-tip").inner_text()


@pytest.mark.browser
def test_a_race_opens_from_a_file_with_its_runs_folded(file_page: Any, tmp_path: Path) -> None:
    shown = Race({"plain": recorded(factor=2), "fast": recorded()})
    file_page.goto(shown.to_html(tmp_path / "race.html", title="Two settings").as_uri())
    assert file_page.get_by_role("heading", name="Two settings").is_visible()
    assert "fast decodes 2.00 times as fast as plain" in file_page.locator(".exsa-race").inner_text()
    file_page.locator("summary").nth(1).focus()
    file_page.keyboard.press("Enter")
    file_page.locator("details .exsa-steps").wait_for()
    assert file_page.locator(".exsa-strip").count() == 1


@pytest.mark.browser
def test_model_output_is_text(file_page: Any, tmp_path: Path) -> None:
    file_page.goto(recorded(text=EVIL).to_html(tmp_path / "run.html", title=EVIL).as_uri())
    assert file_page.locator("img").count() == 0
    assert file_page.get_by_role("heading").inner_text() == EVIL
    file_page.locator(".exsa-steps").focus()
    file_page.keyboard.press("End")
    assert "<img src=x onerror=alert(1)>" in file_page.locator(".exsa-st-text").inner_text()


@pytest.mark.browser
def test_without_scripts_the_text_is_there(browser: Any, tmp_path: Path) -> None:
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    trace = recorded()
    page.goto(trace.to_html(tmp_path / "run.html").as_uri())
    assert trace.text.split() == page.locator("noscript pre").inner_text().split()
    context.close()
