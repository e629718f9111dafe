"""Measure what a newcomer waits for: from ``git clone`` to the first token on the page.

``python scripts/first_token.py [--cold]`` clones this repository into an empty folder, sets it up with ``make``, opens
JupyterLab on the quickstart in chromium and runs its cells until a token shows. ``--cold`` does so with an empty cache:
every package is downloaded and llama.cpp is compiled. Needs the test dependencies; let nothing else run meanwhile.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))  # the tests drive the page

from playwright.sync_api import expect, sync_playwright  # noqa: E402
from set_up import Stopwatch  # noqa: E402

from tests.browser.conftest import QUIET  # noqa: E402
from tests.browser.lab import WAIT_MS, Notebook, Server  # noqa: E402
from tests.conftest import chromium  # noqa: E402

QUICKSTART = "01_quickstart.ipynb"


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Measure the time from git clone to the first token on the page.")
    parser.add_argument("--cold", action="store_true", help="begin with an empty cache")
    args = parser.parse_args(argv)
    os.environ.pop("PYTHONPATH", None)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if args.cold:
            os.environ["XDG_CACHE_HOME"] = str(folder / "cache")
        watch = Stopwatch(time.time())
        with watch.part("git clone"):
            subprocess.run(["git", "clone", "--quiet", "--no-hardlinks", str(ROOT), str(folder / "clone")], check=True)
        with watch.part("make"):
            subprocess.run(["make", ".venv/.ready", "TIMES=1"], cwd=folder / "clone", check=True)
        until_first_token(watch, folder, str(folder / "clone" / ".venv" / "bin" / "python"))
        print(watch.report())
    return 0


def until_first_token(watch: Stopwatch, folder: Path, python: str) -> None:
    """Open the quickstart in a page and run its cells until a token is shown."""
    folder.joinpath("lab").mkdir()
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium(), args=QUIET)
        with watch.part("JupyterLab"):
            server = Server(folder / "lab", python=python)
            server.wait_until_ready()
        try:
            with watch.part("the page"):
                lab = Notebook(browser.new_page(), server, server.root / QUICKSTART, folder)
                lab.command("notebook:clear-all-cell-outputs")
            with watch.part("first token"):
                lab.page.evaluate("void window.jupyterapp.commands.execute('notebook:run-all-cells')")
                expect(lab.page.locator(".exsa-strip .exsa-text .exsa-tok").first).to_be_visible(timeout=WAIT_MS)
        finally:
            server.close()
            browser.close()


if __name__ == "__main__":
    sys.exit(main())
