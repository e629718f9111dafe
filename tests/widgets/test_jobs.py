"""The table of jobs: right rows, live while anything runs, static afterwards, and its buttons work."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest

from exsa_lab.engine.engine import Engine
from exsa_lab.testing import ScriptedModel, scripted_engine
from exsa_lab.widgets import jobs
from exsa_lab.widgets.jobs import HEADER, MAX_OVER, JobsDisplay, job_rows, jobs_html, jobs_text
from tests.conftest import chromium
from tests.gate import Gate, until
from tests.shell import Kernel
from tests.widgets.fake import Published


def model(step_s: float = 0.0) -> ScriptedModel:
    return ScriptedModel("ab<>\n", lambda tokens: [0.1, 0.6, 0.1, 0.1, 0.1], step_s=step_s)


@pytest.fixture
def engine() -> Iterator[Engine]:
    with scripted_engine(model(0.004), model(), n_seq_max=2, n_ctx=4096) as engine:
        yield engine


def test_rows_say_what_each_job_does(engine: Engine) -> None:
    first = engine.submit("ab" * 50, max_tokens=1900, draft_length=2)
    second = engine.submit("<b>ab", max_tokens=1900, draft_length=0)
    third = engine.submit("a\nb", max_tokens=5)
    until(lambda: len(first.tokens) > 3 and len(second.tokens) > 3)

    rows = job_rows(engine, {"story": first, "_private": second, "n": 3})

    assert [row["id"] for row in rows] == ["1", "2", "3"]
    assert [row["name"] for row in rows] == ["story", "", ""]
    assert [row["state"] for row in rows] == ["running", "running", "waiting"]
    assert [row["draft length"] for row in rows] == ["2", "0", ""]
    assert rows[0]["tokens"].endswith(" of 1900")
    assert rows[0]["cached"] == "0 of 100"
    assert float(rows[0]["tok/s"]) > 0
    assert rows[0]["prompt"] == "ab" * 29 + "a…"
    assert rows[2]["prompt"] == "a b"
    assert float(rows[2]["waited"].removesuffix(" s")) >= 0
    assert all(row["is_active"] for row in rows)
    third.cancel()
    until(lambda: third.state == "cancelled")
    assert not job_rows(engine, {})[2]["is_active"]


def test_old_jobs_leave_the_table_and_active_ones_stay() -> None:
    with scripted_engine(model(), n_ctx=4096) as engine:
        for _ in range(MAX_OVER + 10):
            engine.generate("a", max_tokens=1)
        gate = Gate(engine, at=2)
        active = engine.submit("a", max_tokens=500)
        with gate:
            rows = job_rows(engine, {})
        assert len(rows) == MAX_OVER + 1
        assert rows[-1]["id"] == str(active.id)


def test_a_full_answer_says_that_it_was_cut(engine: Engine) -> None:
    engine.generate("a", max_tokens=2)
    assert job_rows(engine, {})[0]["state"] == "finished (length)"


def test_a_failed_job_says_why() -> None:
    with scripted_engine(model(), n_ctx=32) as engine:
        engine.submit("a" * 99).wait(60)
        assert job_rows(engine, {})[0]["state"] == "failed (PromptTooLong)"


def test_static_views_escape_and_name_every_column(engine: Engine) -> None:
    engine.generate("<b>ab", max_tokens=3)
    rows = job_rows(engine, {})
    html, text = jobs_html(rows), jobs_text(rows)
    assert "<b>" not in html
    assert "&lt;b&gt;ab" in html
    assert "<script" not in html
    assert all(name in text for name in HEADER)
    assert "Jobs: 0 running, 0 waiting" in text


def test_no_jobs_yet(engine: Engine) -> None:
    assert jobs_text(job_rows(engine, {})) == "No jobs yet"


@pytest.fixture
def published(monkeypatch: pytest.MonkeyPatch) -> Published:
    return Published(monkeypatch)


def test_the_notebook_s_copy_is_renewed_when_jobs_begin_and_end(engine: Engine, published: Published) -> None:
    shown = JobsDisplay(engine, {}, update_hz=50)
    assert "No jobs yet" in published.shown[0]["text/html"]
    for number in (1, 2):
        generation = engine.submit("ab", max_tokens=2000, draft_length=0)
        until(lambda number=number: len(published.renewed) == 2 * number - 1)
        assert "1 running" in published.renewed[-1]["text/plain"]
        until(lambda: shown.table.rows[-1]["tok/s"])
        generation.cancel()
        until(lambda number=number: len(published.renewed) == 2 * number)
        assert "cancelled" in published.renewed[-1]["text/html"]
    shown.stop()


def test_live_updates_do_not_repeat_the_display(engine: Engine, published: Published) -> None:
    shown = JobsDisplay(engine, {}, update_hz=50)
    generation = engine.submit("ab", max_tokens=2000, draft_length=0)
    until(lambda: bool(published.renewed))
    seen = {shown.table.rows[-1]["tokens"]}
    until(lambda: seen.add(shown.table.rows[-1]["tokens"]) or len(seen) > 4)  # type: ignore[func-returns-value]
    assert len(published.renewed) == 1
    generation.cancel()
    shown.stop()


def test_a_table_that_fails_says_so_beneath(
    engine: Engine, published: Published, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown = JobsDisplay(engine, {}, update_hz=50)
    monkeypatch.setattr(jobs, "job_rows", lambda *_: 1 / 0)
    until(lambda: shown.table.problem)
    assert shown.table.problem.startswith("This table stopped; the jobs go on. ZeroDivisionError")
    shown.stop()


def test_the_buttons_of_the_page(engine: Engine, published: Published) -> None:
    shown = JobsDisplay(engine, {}, update_hz=50)
    generations = [engine.submit("ab", max_tokens=1900, draft_length=0) for _ in range(4)]
    for message in (None, {}, {"type": "stop"}, {"type": "stop", "id": 2}, {"type": "stop", "id": "99"}, "stop", []):
        shown.table._receive(None, message, [])
    time.sleep(0.05)
    assert not any(generation.state.is_final for generation in generations)

    shown.table._receive(None, {"type": "stop", "id": "2"}, [])
    until(lambda: generations[1].state == "cancelled")
    assert not generations[0].state.is_final

    shown.table._receive(None, {"type": "stop", "id": "all"}, [])
    until(lambda: all(generation.state == "cancelled" for generation in generations))
    shown.stop()


def test_a_newer_table_takes_over(engine: Engine, published: Published) -> None:
    first = JobsDisplay(engine, {}, update_hz=50)
    engine.submit("ab", max_tokens=2000, draft_length=0)
    second = JobsDisplay(engine, {}, update_hz=50)
    assert not first._thread.is_alive()
    assert first.table.comm is None
    assert any(first.table.view_id in bundle["text/html"] for bundle in published.renewed)
    second.stop()


def test_it_ends_with_the_engine(published: Published) -> None:
    engine = scripted_engine(model(0.004))
    shown = JobsDisplay(engine, {}, update_hz=50)
    engine.submit("ab", max_tokens=2000, draft_length=0)
    until(lambda: published.renewed)
    engine.close()
    until(lambda: not shown._thread.is_alive())
    assert "cancelled" in published.renewed[-1]["text/html"]


# In a page

RENDER = """async ({esm, data}) => {
  const { default: widget } = await import(URL.createObjectURL(new Blob([esm], { type: "text/javascript" })));
  const listeners = {};
  window.sent = [];
  window.model = {
    data, get: (name) => model.data[name], send: (message) => sent.push(message), off: () => {},
    on: (name, callback) => { listeners[name] = callback; },
    set: (name, value) => { model.data[name] = value; listeners[`change:${name}`](); },
  };
  widget.initialize({ model });
  widget.render({ model, el: document.body });
}"""


def row(id: str, state: str, **texts: str) -> dict[str, Any]:
    texts = dict.fromkeys(HEADER, "") | {"id": id, "state": state} | texts
    return texts | {"is_active": state in ("running", "waiting")}


@pytest.fixture
def page() -> Iterator[Any]:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium(), args=["--no-sandbox"])
        page = browser.new_page()
        page.set_default_timeout(60_000)
        yield page
        browser.close()


@pytest.mark.browser
def test_the_page_shows_rows_and_sends_stops(page: Any) -> None:
    esm = str(jobs.JobsTable._esm)
    rows = [row("1", "running", prompt="<b>hi</b>"), row("2", "waiting")]
    page.evaluate(RENDER, {"esm": esm, "data": {"view_id": "v", "title": "Jobs", "header": list(HEADER), "rows": rows}})
    assert page.locator("tbody tr").count() == 2
    assert page.locator("tbody b").count() == 0
    assert page.locator("tbody td").filter(has_text="<b>hi</b>").count() == 1

    page.get_by_role("button", name="Stop generation 2").click()
    page.get_by_role("button", name="Stop all generations").click()
    assert page.evaluate("sent") == [{"type": "stop", "id": "2"}, {"type": "stop", "id": "all"}]

    page.evaluate("rows => model.set('rows', rows)", [row("2", "cancelled"), row("3", "running")])
    assert page.locator("tbody tr").evaluate_all("rows => rows.map(row => row.cells[0].textContent)") == ["2", "3"]
    assert page.locator("button").evaluate_all("all => all.map(b => b.ariaLabel)") == ["Stop generation 3"]


# In a kernel

SET_UP = """
%load_ext exsa_lab
from exsa_lab import loading
from exsa_lab.testing import ScriptedModel, scripted_engine
model = ScriptedModel("ab", lambda tokens: [0.5, 0.5], step_s=0.004)
engine = loading.use(scripted_engine(model, n_ctx=4096))
"""


@pytest.fixture(scope="module")
def kernel() -> Iterator[Kernel]:
    made = Kernel()
    try:
        assert made.run(SET_UP).succeeded
        yield made
    finally:
        made.close()


def test_in_a_kernel_it_is_a_widget_with_a_fallback(kernel: Kernel) -> None:
    assert kernel.run("%%exsa -b --name story --max-tokens 3000 --draft-length 0\nab").succeeded
    result = kernel.run("%exsa_jobs")
    assert "<exsa-view" in result.displays[-1]["text/html"]
    assert "story" in result.displays[-1]["text/html"]
    assert "story" in result.displays[-1]["text/plain"]
    once = kernel.run("%exsa_jobs --once")
    assert "<exsa-view" not in once.displays[-1]["text/html"]
    assert "running" in once.text()
    assert "Cancelled" in kernel.run("%exsa_cancel all").stdout
