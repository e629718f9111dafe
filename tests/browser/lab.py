"""A real JupyterLab and a page in a real browser, driven as a user drives them."""

from __future__ import annotations

import json
import os
import re
import secrets
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import nbformat
from playwright.sync_api import Locator, Page, expect

KERNELSPEC = {"name": "python3", "display_name": "Python 3 (ipykernel)", "language": "python"}
WIDGET_SETTINGS = "@jupyter-widgets/jupyterlab-manager/plugin"
START_TIMEOUT_S = 180.0
# Two cores render the page and compute the model at once: patience, never an assertion about speed.
WAIT_MS = 120_000
KERNEL_IS_IDLE = """
() => window.jupyterapp?.shell.currentWidget?.context?.sessionContext?.session?.kernel?.status === "idle"
"""
_PROGRESS = r"""
(cell) => [
  Number((/([\d,]+) tokens/.exec(cell.querySelector(".exsa-numbers")?.textContent)?.[1] ?? "0").replaceAll(",", "")),
  cell.querySelector(".jp-InputArea-prompt").textContent.includes("[*]"),
]
"""
_EXECUTED = re.compile(r"\[\d+\]")


class Server:
    """``exsa-lab lab`` on a free port with its own settings; nothing of the user's is read or written."""

    def __init__(self, folder: Path, *, python: str = sys.executable) -> None:
        """Start it with this interpreter's exsa_lab."""
        self.root = folder / "root"
        self.log = folder / "jupyterlab.log"
        self._token = secrets.token_hex(16)
        self._settings = folder / "settings"
        for name in ("root", "config", "data", "runtime", "ipython", "cache", "settings", "workspaces"):
            (folder / name).mkdir()
        _write_settings(folder / "settings")
        self._port = _free_port()
        self._process = self._start(folder, python)

    def _start(self, folder: Path, python: str) -> subprocess.Popen[bytes]:
        environment = os.environ | {
            "JUPYTER_CONFIG_DIR": str(folder / "config"),
            "JUPYTER_DATA_DIR": str(folder / "data"),
            "JUPYTER_RUNTIME_DIR": str(folder / "runtime"),
            "IPYTHONDIR": str(folder / "ipython"),
            "XDG_CACHE_HOME": str(folder / "cache"),
            "JUPYTERLAB_SETTINGS_DIR": str(folder / "settings"),
            "JUPYTERLAB_WORKSPACES_DIR": str(folder / "workspaces"),
        }
        command = [python, "-m", "exsa_lab.cli", "lab", "--folder", str(self.root), "--no-browser"]
        command += [f"--ServerApp.port={self._port}", "--ServerApp.port_retries=0"]
        command += [f"--IdentityProvider.token={self._token}", "--expose-app-in-browser"]
        # Notebook 7, where it is installed, is a part of the same server.
        command += ["--JupyterNotebookApp.expose_app_in_browser=True"]
        with self.log.open("wb") as log:
            return subprocess.Popen(command, env=environment, stdout=log, stderr=subprocess.STDOUT)

    def wait_until_ready(self) -> None:
        """Return once the server answers; raises RuntimeError with the end of its log when it does not."""
        deadline = time.monotonic() + START_TIMEOUT_S
        while time.monotonic() < deadline and self._process.poll() is None:
            try:
                self.request("GET", "api/status")
                return
            except (urllib.error.URLError, ConnectionError):
                time.sleep(0.2)
        raise RuntimeError("JupyterLab did not start:\n" + self.log.read_text(errors="replace")[-3000:])

    def url(self, path: str) -> str:
        # reset: the workspace would open again what an earlier test had open.
        return f"http://127.0.0.1:{self._port}/{path}?reset&token={self._token}"

    def request(self, method: str, path: str) -> Any:
        headers = {"Authorization": f"token {self._token}"}
        request = urllib.request.Request(f"http://127.0.0.1:{self._port}/{path}", method=method, headers=headers)
        with urllib.request.urlopen(request, timeout=60) as answer:
            body = answer.read()
        return json.loads(body) if body else None

    def keep_widgets(self, keep: bool) -> None:
        """Say whether notebooks save the state of their widgets; pages that are loaded from now on follow."""
        _write_setting(self._settings, WIDGET_SETTINGS, {"saveState": keep})

    def stop_kernels(self) -> None:
        """End every session, so that the next test has the machine's memory and cores."""
        for session in self.request("GET", "api/sessions"):
            self.request("DELETE", f"api/sessions/{session['id']}")

    def restart_kernels(self) -> None:
        """Restart every kernel, as a user does whose notebook hangs."""
        for kernel in self.request("GET", "api/kernels"):
            self.request("POST", f"api/kernels/{kernel['id']}/restart")

    def close(self) -> None:
        self._process.terminate()
        try:
            self._process.wait(timeout=60)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


class Notebook:
    """One notebook, open in the page. Cells are counted from 0."""

    def __init__(self, page: Page, server: Server, path: Path, shots: Path) -> None:
        self.page = page
        self.path = path
        self._server = server
        self._shots = shots
        self.open()

    def open(self) -> None:
        """Load the page anew, as after a browser reload, and wait for the kernel."""
        self.page.goto(self._server.url(f"lab/tree/{self.path.name}"))
        # A cell run before the kernel is there opens a dialog.
        self.page.wait_for_function(KERNEL_IS_IDLE, timeout=WAIT_MS)

    def cell(self, index: int) -> Locator:
        return self.page.locator(".jp-NotebookPanel .jp-Notebook .jp-Cell").nth(index)

    def output(self, index: int) -> Locator:
        return self.cell(index).locator(".jp-OutputArea").first

    def strip(self, index: int) -> Locator:
        """The live token strip in a cell's output."""
        return self.cell(index).locator(".exsa-strip")

    def start(self, index: int) -> None:
        """Run a cell as a user does, and return at once."""
        self.cell(index).locator(".cm-content").click()
        self.page.keyboard.press("Shift+Enter")

    def progress(self, index: int) -> tuple[int, bool]:
        """Return how many tokens a cell's strip shows and whether the cell is running, both of the same moment."""
        count, is_running = self.cell(index).evaluate(_PROGRESS)
        return int(count), bool(is_running)

    def prompt(self, index: int) -> Locator:
        """The number beside a cell."""
        return self.cell(index).locator(".jp-InputArea-prompt").first

    def wait(self, index: int) -> None:
        """Wait until a started cell has ended."""
        expect(self.prompt(index)).to_have_text(_EXECUTED, timeout=WAIT_MS)

    def run(self, *indexes: int) -> None:
        for index in indexes:
            before = self.prompt(index).text_content() or ""
            self.start(index)
            expect(self.prompt(index)).not_to_have_text(before, timeout=WAIT_MS)  # that of an earlier run
            self.wait(index)

    def save(self) -> Any:
        """Save with the menu's command; returns the notebook as it lies on the disk."""
        self.command("docmanager:save")
        return nbformat.read(self.path, as_version=4)

    def set_theme(self, name: str) -> None:
        """Change to "light" or "dark", and wait until the page shows it."""
        self.command("apputils:change-theme", {"theme": f"JupyterLab {name.capitalize()}"})
        expect(self.page.locator("body")).to_have_attribute(
            "data-jp-theme-light", "true" if name == "light" else "false"
        )
        expect(self.page.locator("#jupyterlab-splash")).to_have_count(0, timeout=WAIT_MS)

    def command(self, name: str, arguments: dict[str, Any] | None = None) -> None:
        self.page.evaluate(
            "([n, a]) => window.jupyterapp.commands.execute(n, a).then(() => null)", [name, arguments or {}]
        )

    def shot(self, name: str, index: int | None = None, *, also: Locator | None = None) -> Path:
        """Photograph the page, or one cell with what hangs out of it, for people to look at."""
        path = self._shots / f"{name}.png"
        if index is None:
            self.page.screenshot(path=path)
        elif also is None:
            self._shoot_whole(self.cell(index), path)
        else:
            boxes = [box for locator in (self.cell(index), also) if (box := locator.bounding_box())]
            left, top = min(box["x"] for box in boxes), min(box["y"] for box in boxes)
            right = max(box["x"] + box["width"] for box in boxes)
            bottom = max(box["y"] + box["height"] for box in boxes)
            clip = {"x": left, "y": top, "width": right - left, "height": bottom - top + 12}
            self.page.screenshot(path=path, clip=clip)  # type: ignore[arg-type]  # a FloatRect
        return path

    def _shoot_whole(self, cell: Locator, path: Path) -> None:
        """Photograph a cell, in a window that is tall enough for it."""
        window = self.page.viewport_size
        assert window is not None
        box = cell.bounding_box()
        is_tall = box is not None and box["height"] > window["height"] - 150
        if box is not None and is_tall:
            self.page.set_viewport_size({"width": window["width"], "height": int(box["height"]) + 200})
        cell.screenshot(path=path)
        if is_tall:
            self.page.set_viewport_size(window)


def write_notebook(path: Path, *sources: str) -> Path:
    """Write a notebook of code cells. Without the kernelspec JupyterLab opens a dialog that swallows clicks."""
    cells = [nbformat.v4.new_code_cell(source) for source in sources]
    nbformat.write(nbformat.v4.new_notebook(cells=cells, metadata={"kernelspec": KERNELSPEC}), path)
    return path


def _write_settings(folder: Path) -> None:
    # Neither the news dialog nor an autosave in the middle of a test.
    extras = {
        "@jupyterlab/apputils-extension/notification": {
            "checkForUpdates": False,
            "doNotDisturbMode": True,
            "fetchNews": "false",
        },
        "@jupyterlab/docmanager-extension/plugin": {"autosave": False},
    }
    for name, values in extras.items():
        _write_setting(folder, name, values)


def _write_setting(folder: Path, name: str, values: dict[str, Any]) -> None:
    path = folder / f"{name}.jupyterlab-settings"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(values))


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
