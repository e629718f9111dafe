"""A real IPython shell in this process, and a real kernel in another, to run cells in."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from IPython.core.interactiveshell import InteractiveShell
from IPython.utils.capture import capture_output
from jupyter_client.manager import KernelManager
from traitlets.config import Config

from tests.gate import until

TIMEOUT_S = 180.0
"""Patience with a busy machine, never an assertion about speed."""


WATCH = """
import pathlib, threading, time
from exsa_lab import loading

def _watch(known):
    def is_there(gen):
        return gen.id not in known and ({condition})
    while not any(map(is_there, loading.get_engine().active)):
        time.sleep(0.005)
    pathlib.Path({mark!r}).touch()

threading.Thread(target=_watch, args=({{gen.id for gen in loading.get_engine().generations}},), daemon=True).start()
"""


@dataclass
class CellResult:
    """What a cell left: its printed text, its displays as mime bundles, and its error."""

    stdout: str = ""
    stderr: str = ""
    displays: list[dict[str, Any]] = field(default_factory=list)
    error: BaseException | None = None
    ename: str = ""
    evalue: str = ""
    traceback: list[str] = field(default_factory=list)
    seconds: float = 0.0
    messages: list[dict[str, Any]] = field(default_factory=list, repr=False)
    """From a kernel: all that it said of the cell, as a page gets it."""

    @property
    def succeeded(self) -> bool:
        return self.error is None and not self.ename

    def text(self) -> str:
        """Everything readable: displays as plain text, then what was printed."""
        return "\n".join([*(display.get("text/plain", "") for display in self.displays), self.stdout, self.stderr])

    def html(self) -> str:
        return "\n".join(display.get("text/html", "") for display in self.displays)


class Shell:
    """An IPython shell with the extension loaded."""

    def __init__(self) -> None:
        config = Config()
        config.HistoryManager.enabled = False
        self.ip = InteractiveShell.instance(config=config)
        self.ip.colors = "nocolor"
        assert self.run("%load_ext exsa_lab").succeeded

    def run(self, cell: str) -> CellResult:
        with capture_output() as captured:
            result = self.ip.run_cell(cell)
        displays = [output.data for output in captured.outputs]
        error = result.error_before_exec or result.error_in_exec
        return CellResult(captured.stdout, captured.stderr, displays, error)


@contextmanager
def shell() -> Iterator[Shell]:
    InteractiveShell.clear_instance()
    try:
        yield Shell()
    finally:
        InteractiveShell.clear_instance()


class Kernel:
    """A kernel as a notebook has it: another process, reached by messages, interrupted by a signal."""

    def __init__(self, **environment: str) -> None:
        """Start one, with these variables besides ours."""
        self._manager = KernelManager(kernel_name="python3")
        # What a kernel writes while it is shut down is no part of the tests' output.
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        self._manager.start_kernel(env={**os.environ, **environment}, **quiet)
        self._client = self._manager.blocking_client()
        self._client.start_channels()
        self._client.wait_for_ready(timeout=TIMEOUT_S)

    def close(self) -> None:
        self._client.stop_channels()
        self._manager.shutdown_kernel(now=True)
        self._manager.cleanup_resources()

    def run(self, cell: str, *, cell_id: str = "") -> CellResult:
        return self.finish(self.start(cell, cell_id=cell_id))

    def start(self, cell: str, *, cell_id: str = "") -> str:
        """Send a cell and return at once; `finish` wants what this returns. Notebooks tell the cell's id."""
        content = {"code": cell, "silent": False, "store_history": True, "user_expressions": {}, "allow_stdin": False}
        metadata = {"cellId": cell_id} if cell_id else {}
        message = self._client.session.msg("execute_request", {**content, "stop_on_error": True}, metadata=metadata)
        self._client.shell_channel.send(message)
        return str(message["header"]["msg_id"])

    def start_until(self, cell: str, condition: str, *, cell_id: str = "") -> str:
        """Send a cell, and return once an expression of ``gen`` holds of the generation that it asks for."""
        with TemporaryDirectory() as folder:
            mark = Path(folder, "mark")
            assert self.run(WATCH.format(condition=condition, mark=str(mark))).succeeded
            request = self.start(cell, cell_id=cell_id)
            until(mark.exists)
        return request

    def interrupt(self) -> None:
        self._manager.interrupt_kernel()

    def finish(self, request: str) -> CellResult:
        """Wait until the cell is done; ``seconds`` is how long that took from here."""
        begin = time.monotonic()
        result = CellResult()
        shown: dict[str, int] = {}
        while True:
            message = self._client.get_iopub_msg(timeout=TIMEOUT_S)
            if message["parent_header"].get("msg_id") != request:
                continue
            result.messages.append(message)
            content = message["content"]
            match message["msg_type"]:
                case "status" if content["execution_state"] == "idle":
                    break
                case "stream" if content["name"] == "stdout":
                    result.stdout += content["text"]
                case "stream":
                    result.stderr += content["text"]
                case "display_data" | "execute_result" | "update_display_data":
                    _show(result, shown, content)
                case "error":
                    result.ename, result.evalue = content["ename"], content["evalue"]
                    result.traceback = content["traceback"]
        reply = self._client.get_shell_msg(timeout=TIMEOUT_S)
        while reply["parent_header"].get("msg_id") != request:
            reply = self._client.get_shell_msg(timeout=TIMEOUT_S)
        result.seconds = time.monotonic() - begin
        if reply["content"]["status"] == "error" and not result.ename:
            result.ename, result.evalue = reply["content"]["ename"], reply["content"]["evalue"]
        return result


def _show(result: CellResult, shown: dict[str, int], content: dict[str, Any]) -> None:
    """Add a display, or change the one with the same id, as a notebook does."""
    name = content.get("transient", {}).get("display_id")
    if name in shown:
        result.displays[shown[name]] = content["data"]
        return
    if name is not None:
        shown[name] = len(result.displays)
    result.displays.append(content["data"])
