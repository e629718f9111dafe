"""The server in a real JupyterLab: key and code are shown once, and the code works where it is pasted."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest
from playwright.sync_api import expect

from tests.browser.lab import Notebook

pytestmark = pytest.mark.browser

SET_UP = """
%load_ext exsa_lab
import exsa_lab as xl
from exsa_lab import loading
from exsa_lab.testing import ScriptedModel, scripted_engine

letters = "abcdefgh<>\\n"
cycle = lambda tokens: [float(i == (tokens[-1] + 1) % 8) for i in range(len(letters))]
loading.use(scripted_engine(ScriptedModel(letters, cycle, name="letters"), n_ctx=2048))
"""
ASK = "print(client.completions.create(model='letters', prompt='abc', max_tokens=4).choices[0].text)"


def test_key_and_code_are_shown_once_and_the_code_works(notebook: Callable[..., Notebook]) -> None:
    lab = notebook(SET_UP, "%exsa_serve", "%exsa_serve", "", "xl.serve()", "%exsa_jobs", "%exsa_serve --stop")
    lab.run(0, 1, 2)
    expect(lab.output(1)).to_contain_text("The key is shown this once")
    shown = lab.output(1).locator("pre").inner_text()
    key = shown.split('api_key="')[1].split('"')[0]
    code = shown.split("\n\n", 1)[1]
    assert key.startswith("exsa-")
    expect(lab.output(2)).to_contain_text("open")
    expect(lab.output(2)).not_to_contain_text(key)

    lab.cell(3).locator(".cm-content").click()
    lab.page.keyboard.insert_text(code.split("messages =")[0] + ASK)
    lab.run(3, 4, 5)
    expect(lab.output(3)).to_contain_text("defg")
    expect(lab.output(4)).not_to_contain_text(key)
    expect(lab.output(5)).to_contain_text("http 127.0.0.1 req 1")
    for theme in ("light", "dark"):
        lab.set_theme(theme)
        lab.cell(1).scroll_into_view_if_needed()
        lab.shot(f"serve-{theme}")
    lab.run(6)
    expect(lab.output(6)).to_contain_text("The server is closed.")

    # Where the first display is, and where the user pasted it: nowhere else.
    cells = lab.save()["cells"]
    assert [index for index, cell in enumerate(cells) if key in json.dumps(cell)] == [1, 3]
