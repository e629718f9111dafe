"""The doctor: right about the machine and the engine, readable, escaped, and never ill itself."""

from __future__ import annotations

import re
from html import escape

import pytest

import exsa_lab as xl
from exsa_lab import loading
from exsa_lab.cli import main
from exsa_lab.doctor import machine, report, status
from exsa_lab.doctor.engine import LOG_TAIL
from exsa_lab.doctor.report import SECTIONS, DoctorReport
from exsa_lab.engine.engine import Engine
from exsa_lab.runtime import library
from exsa_lab.testing import scripted_engine
from exsa_lab.widgets.panel import TEXT_WIDTH
from tests.doctor.parts import FEATURES, model, section


def test_the_package_is_called_for_the_report() -> None:
    loading.unload()
    found = xl.doctor()
    assert isinstance(found, DoctorReport)
    assert [section.title for section in found.sections] == [section.title for section in report().sections]


def test_it_works_without_an_engine() -> None:
    loading.unload()
    text = report().text
    for title in ("Machine", "Build", "Models", "Plan", "Memory", "Speculation", "What is active"):
        assert re.search(f"^{title}", text, re.MULTILINE), title
    assert "Not available" not in text
    assert "SmolLM2-135M-Instruct" in text
    assert "nothing is loaded" in text


def test_it_is_about_the_kernels_engine_unless_told_otherwise(engine: Engine) -> None:
    with scripted_engine(model("another"), n_ctx=128) as other:
        loading.use(other)
        assert dict(section(report(), "Settings").rows)["n_ctx"] == "128"
        assert dict(section(report(engine), "Settings").rows)["n_ctx"] == "2,048"
    loading.unload()


def test_every_line_of_text_fits(engine: Engine) -> None:
    for line in report(engine).text.splitlines():
        if "CMAKE_ARGS" not in line:  # commands are for copying
            assert len(line) <= TEXT_WIDTH, line


def test_html_needs_no_script_and_no_style_sheet(engine: Engine) -> None:
    html = report(engine)._repr_html_()
    assert not re.search(r"<(script|style|link|iframe)|class=\"(?!mathjax)|https?://", html)


def test_the_log_is_shown_as_it_is_from_its_end(engine: Engine, log: list[str]) -> None:
    log += [f"line {number}" for number in range(LOG_TAIL)]
    log += ["a warning: see https://example.org/pull/1 " + "x" * TEXT_WIDTH, "<script>alert(1)</script>"]
    found = report(engine)
    shown = section(found, "llama.cpp's log")
    assert shown.lines == tuple(log[2:])
    assert all(f"  {line}\n" in f"{found.text}\n" for line in log[2:])
    assert "<script" not in found.html
    assert f"line {LOG_TAIL - 1}\n{log[-2]}\n{escape(log[-1])}" in found.html


def test_without_a_log_there_is_no_section_of_it(engine: Engine) -> None:
    assert not any("log" in section.title for section in report(engine).sections)


def test_a_section_that_fails_says_so_and_the_rest_stands(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> library.Build:
        raise OSError("the library is gone")

    monkeypatch.setattr(machine, "build", fail)
    found = report()
    assert section(found, "Build").summary == "Not available: OSError: the library is gone"
    assert dict(section(found, "Machine").rows)["CPU"]
    assert len(found.sections) >= len(SECTIONS) - 2


def test_the_command_line_prints_the_same(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor"]) == 0
    printed = capsys.readouterr().out
    assert printed.startswith("exsa_lab doctor\n\nVerdict\n")
    assert all(feature in printed for feature in FEATURES)


def test_the_verdict_stands_first_in_text_and_page(engine: Engine) -> None:
    found = report(engine)
    assert found.sections[0].title == "Verdict"
    titles = [section.title for section in found.sections]
    assert min(titles, key=found.text.index) == "Verdict"
    assert min(titles, key=lambda title: found.html.index(escape(title, quote=True))) == "Verdict"


def test_names_are_escaped() -> None:
    with scripted_engine(model("<img src=x onerror=alert(1)>\x1b[2J")) as engine:
        found = report(engine)
        assert "<img" not in found.html
        assert "&lt;img" in found.html
        assert "\x1b" not in found.html + found.text + status(engine).html
