"""Run a benchmark in a process of its own and pass its output on."""

from __future__ import annotations

import subprocess
import sys

from exsa_lab.errors import ExsaError
from exsa_lab.magics.interrupts import CellInterrupted


def run(arguments: list[str]) -> None:
    """Run ``python -m exsa_lab.bench`` with these arguments; an interrupt ends it.

    Not in this process: the kernel's engine, its memory and its threads would be part of what is measured.
    """
    command = [sys.executable, "-u", "-m", "exsa_lab.bench", *arguments]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, encoding="utf-8", errors="replace"
    ) as process:
        assert process.stdout is not None
        last = ""
        try:
            for line in process.stdout:
                print(line, end="", flush=True)
                last = line.strip() or last
        except KeyboardInterrupt:
            process.terminate()
            raise CellInterrupted("Interrupted; the benchmark was stopped.") from None
    if process.returncode:
        raise ExsaError(f"the benchmark ended with status {process.returncode}: {last}.", hint="Its output is above.")
