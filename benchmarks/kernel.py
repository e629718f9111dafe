"""A real Jupyter kernel to run cells in, with a client that takes in all it sends, as a page would."""

from __future__ import annotations

import importlib
import importlib.util
import json
import queue
import subprocess
import time
from typing import Any, Self

from exsa_lab.errors import ExsaError

Arrival = tuple[float, int]
"""When a message came, on the clock of `time.perf_counter`, and its bytes."""


def need_jupyter() -> None:
    """Raise ExsaError where the package that starts kernels is missing."""
    if importlib.util.find_spec("jupyter_client") is None:
        raise ExsaError("jupyter_client is not installed.", hint='Run `pip install "exsa-lab[lab]"`.')


class Kernel:
    """One ipykernel process. Raises ExsaError when jupyter_client is missing or a cell fails."""

    def __init__(self, *, timeout: float = 600.0) -> None:
        need_jupyter()
        manager: Any = importlib.import_module("jupyter_client.manager")
        self._timeout = timeout
        self._manager, self._client = manager.start_new_kernel(
            kernel_name="python3", stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        self.arrivals: list[Arrival] = []
        """Messages received so far, of all kinds."""

    def run(self, code: str) -> None:
        """Run a cell to its end; its output is received and thrown away."""
        self._execute(code, {})

    def evaluate(self, expression: str) -> str:
        """Return the repr of an expression's value."""
        reply = self._execute("", {"value": expression})
        value = reply["user_expressions"]["value"]
        if value["status"] != "ok":
            raise ExsaError(f"{expression}: {value['ename']}: {value['evalue']}.")
        return str(value["data"]["text/plain"])

    def _execute(self, code: str, expressions: dict[str, str]) -> dict[str, Any]:
        sent = self._client.execute(code, user_expressions=expressions)
        deadline = time.monotonic() + self._timeout
        self._receive_until_idle(sent, deadline)
        while True:
            reply = self._client.get_shell_msg(timeout=max(0.1, deadline - time.monotonic()))
            if reply["parent_header"].get("msg_id") == sent:
                break
        content: dict[str, Any] = reply["content"]
        if content["status"] != "ok":
            raise ExsaError(f"the cell failed: {content.get('ename')}: {content.get('evalue')}.")
        return content

    def _receive_until_idle(self, sent: str, deadline: float) -> None:
        while time.monotonic() < deadline:
            try:
                message = self._client.get_iopub_msg(timeout=1.0)
            except queue.Empty:
                continue
            self.arrivals.append((time.perf_counter(), _size(message)))
            is_ours = message["parent_header"].get("msg_id") == sent
            if is_ours and message["content"].get("execution_state") == "idle":
                return
        raise ExsaError(f"the cell did not end within {self._timeout:g} s.")

    def close(self) -> None:
        self._client.stop_channels()
        self._manager.shutdown_kernel(now=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _size(message: dict[str, Any]) -> int:
    """Bytes of a message on its way to the page, its signature not counted."""
    parts = ("header", "parent_header", "metadata", "content")
    texts = [json.dumps(message[name], default=str, ensure_ascii=False) for name in parts]  # as jupyter_client does
    size = sum(len(text.encode("utf-8", "surrogateescape")) for text in texts)
    return size + sum(len(buffer) for buffer in message.get("buffers") or ())
