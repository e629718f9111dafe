"""The process in which templates are rendered that are not known: it reads requests and answers them, a line each.

It has little memory, writes no files, and is killed when it takes too long (`exsa_lab.prompts.pool`).
"""

from __future__ import annotations

import contextlib
import functools
import json
import sys
from pathlib import Path
from typing import Any

from exsa_lab.errors import ExsaError
from exsa_lab.prompts.template import ChatTemplate, TemplateRefusal, TemplateTooCostly
from exsa_lab.prompts.wire import runs_of, unpacked

MEMORY = 256 << 20
"""Bytes it may take beyond those it begins with."""


@functools.lru_cache(maxsize=8)
def _parsed(source: str) -> ChatTemplate:
    return ChatTemplate(source)


def answer(request: bytes) -> dict[str, Any]:
    """Render what a request asks for; a failure is named by its kind."""
    try:
        asked = json.loads(request)
        text = _parsed(asked["source"]).render(unpacked(asked["values"]))
        return {"text": str(text), "runs": runs_of(text)}
    except TemplateRefusal as error:
        return _failure("refused", error)
    except TemplateTooCostly as error:
        return _failure("costly", error)
    except ExsaError as error:
        return _failure("invalid", error)


def _failure(kind: str, error: ExsaError) -> dict[str, Any]:
    return {"failure": kind, "message": error.message, "hint": error.hint}


def _limit() -> None:
    """Bound what the process may take; nothing of it exists on Windows."""
    with contextlib.suppress(ImportError, OSError, ValueError):
        import resource

        pages = int(Path("/proc/self/statm").read_text().split()[0]) if Path("/proc/self/statm").exists() else 0
        memory = pages * resource.getpagesize() + MEMORY
        for kind, most in ((resource.RLIMIT_CORE, 0), (resource.RLIMIT_FSIZE, 0), (resource.RLIMIT_AS, memory)):
            resource.setrlimit(kind, (most, most))


def main() -> None:
    requests, answers = sys.stdin.buffer, sys.stdout.buffer
    _limit()
    answers.write(b"ready\n")
    answers.flush()
    for request in requests:
        answers.write(json.dumps(answer(request)).encode() + b"\n")
        answers.flush()
