"""Models that a child process opens, good ones and bad ones."""

from __future__ import annotations

import ctypes
import os
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from exsa_lab.engine.assembly import Models
from exsa_lab.testing import ScriptedModel, markov

LETTERS = [chr(ord("a") + i) for i in range(12)]


@dataclass(frozen=True)
class Opener:
    """Opens scripted models; ``trouble`` begins at token number ``at`` of a text that begins with "b"."""

    trouble: str = ""
    at: int = 6
    step_s: float = 0.0
    when_opened: bool = False

    def __call__(self, progress: Callable[[float], bool]) -> Models:
        progress(0.5)
        if self.when_opened:
            make_trouble(self.trouble)
        next_probs = markov(12, 1)

        def watched(tokens: tuple[int, ...]) -> Any:
            if self.trouble and tokens[0] == 1 and len(tokens) >= self.at:
                make_trouble(self.trouble)
            return next_probs(tokens)

        progress(1.0)
        return Models(
            ScriptedModel(LETTERS, watched, step_s=self.step_s),
            ScriptedModel(LETTERS, markov(12, 2)),
            notes=("a note",),
        )


def make_trouble(kind: str) -> None:
    match kind:
        case "segv" | "bus" | "abort" | "kill":
            os.kill(os.getpid(), {"segv": signal.SIGSEGV, "bus": signal.SIGBUS, "abort": signal.SIGABRT,
                                  "kill": signal.SIGKILL}[kind])  # fmt: skip
            time.sleep(10)
        case "exit":
            os._exit(3)
        case "raise":
            raise RuntimeError("boom")
        case "memory":
            _ = [bytearray(1 << 28) for _ in range(10_000)]
        case "hold":
            ctypes.PyDLL(None).sleep(1000)  # keeps the interpreter lock
        case "lie":
            os.write(1, b"what C code prints\n")
            os.write(stdout_of_frames(), b"\xff" * 64)
            time.sleep(10)


def stdout_of_frames() -> int:
    """The file that frames are written to: the copy of what stdout was."""
    import gc

    outbox = next(thing for thing in gc.get_objects() if type(thing).__name__ == "Outbox")  # it is of __main__
    return int(outbox.file.fileno())
