"""Titled tables as text and as HTML."""

from __future__ import annotations

import re

from exsa_lab.widgets.panel import TEXT_WIDTH, Section, to_html, to_text


def test_text_wraps_the_last_column_under_itself() -> None:
    lines = to_text("", [Section("T", (("name", "word " * 60),))]).splitlines()
    assert lines[0] == "T"
    assert lines[1].startswith("  name  word")
    assert all(line.startswith("        word") for line in lines[2:])
    assert all(len(line) <= TEXT_WIDTH for line in lines)


def test_html_escapes_every_part() -> None:
    bad = "<b>&\x1b"
    html = to_html(bad, [Section(bad, ((bad, bad),), (bad, bad), bad, (bad,))])
    assert "<b>" not in html
    assert "\x1b" not in html
    assert html.count("&lt;b&gt;&amp;␛") == 8


def test_a_folded_section_opens_without_a_script() -> None:
    html = to_html("", [Section("log", lines=("line",), is_folded=True)])
    assert re.search(r"<details><summary[^>]*>log</summary>.*line.*</details>", html)
