"""Processes that render templates nobody knows yet, and that may be killed over it."""

from __future__ import annotations

import atexit
import contextlib
import json
import os
import subprocess
import sys
import threading
from typing import Any

from exsa_lab.errors import ConfigError, InvalidModel
from exsa_lab.prompts.template import NO_CHAT, TemplateRefusal, TemplateTooCostly
from exsa_lab.prompts.wire import marked_by, packed

DEADLINE_S = 2.0
"""Longest a template may take, from its source to its text."""
_START_S = 60.0
"""Longest a process may take to start, on a machine that does much else."""
_MAX_ANSWER = 256 << 20
_MAX_IDLE = 2
_MAIN = "import sys; sys.path[:] = sys.argv[1:]; from exsa_lab.prompts.child import main; main()"
_FAILURES: dict[str, type[ConfigError | InvalidModel]] = {
    "refused": TemplateRefusal,
    "costly": TemplateTooCostly,
    "invalid": InvalidModel,
}


class _Stopped(Exception):
    """The process ended, by itself or because it took too long."""


class _Renderer:
    """One such process. It knows nothing of this one's environment, where tokens and keys are."""

    def __init__(self) -> None:
        kept = {name: os.environ[name] for name in ("PATH", "SYSTEMROOT", "TZ", "LANG") if name in os.environ}
        self.owner = os.getpid()
        self._process = subprocess.Popen(
            [sys.executable, "-I", "-S", "-c", _MAIN, *(path for path in sys.path if path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=kept,
            start_new_session=True,  # An interrupt is for this process.
        )
        self._ask(b"", _START_S)

    def ask(self, request: bytes) -> Any:
        return json.loads(self._ask(request, DEADLINE_S))

    def _ask(self, request: bytes, seconds: float) -> bytes:
        """Send a request and wait for the answer; raises _Stopped when the process ended instead."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        watchdog = threading.Timer(seconds, self._process.kill)
        watchdog.daemon = True
        watchdog.start()
        try:
            if request:
                self._process.stdin.write(request + b"\n")
                self._process.stdin.flush()
            answer = self._process.stdout.readline(_MAX_ANSWER)
        except OSError as cause:
            raise _Stopped from cause
        finally:
            watchdog.cancel()
        if not answer.endswith(b"\n"):
            raise _Stopped
        return answer

    def close(self) -> None:
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                with contextlib.suppress(OSError):
                    pipe.close()


# Renderers nobody uses now. A list's append and pop are atomic, so no lock is held while a template runs.
_idle: list[_Renderer] = []


def render_apart(source: str, values: dict[str, Any]) -> str:
    """Render a template in another process; see `ChatTemplate.render`.

    Raises TemplateTooCostly when it took more than two seconds or ended the process.
    """
    request = json.dumps({"source": source, "values": packed(values)}).encode()
    renderer = _take()
    try:
        answer = renderer.ask(request)
    except _Stopped as cause:
        renderer.close()
        raise TemplateTooCostly(
            f"the chat template takes more than {DEADLINE_S:g} s or more memory than it may, so it was stopped.",
            hint=NO_CHAT,
        ) from cause
    except BaseException:
        renderer.close()
        raise
    _give_back(renderer)
    if "failure" in answer:
        raise _FAILURES[answer["failure"]](answer["message"], hint=answer["hint"])
    return marked_by(answer["text"], answer["runs"])


def _take() -> _Renderer:
    while _idle:
        renderer = _idle.pop()
        if renderer.owner == os.getpid():  # A forked process shares its parent's pipes.
            return renderer
    try:
        return _Renderer()
    except (OSError, _Stopped) as cause:
        raise InvalidModel(
            "the chat template is not a known one, and no process can be started to render it in.", hint=NO_CHAT
        ) from cause


def _give_back(renderer: _Renderer) -> None:
    if len(_idle) < _MAX_IDLE:
        _idle.append(renderer)
    else:
        renderer.close()


@atexit.register
def close_idle() -> None:
    """End the processes that wait for work."""
    while _idle:
        renderer = _idle.pop()
        if renderer.owner == os.getpid():
            renderer.close()
