"""Run a benchmark in a process of its own and pass its output on."""

from __future__ import annotations

import subprocess
import sys

from exsa_lab.bench.cli import BENCHMARKS
from exsa_lab.config import did_you_mean
from exsa_lab.errors import ConfigError, ExsaError
from exsa_lab.magics.interrupts import CellInterrupted

_PROMISE_NOT_HELD = 1


def listing() -> str:
    """Return every benchmark's name with what it measures, a line each."""
    return "\n".join(f"{name:<14}{text}" for name, text in BENCHMARKS.items())


def run(arguments: list[str]) -> None:
    """Run ``python -m exsa_lab.bench`` with these arguments; an interrupt ends it.

    Not in this process: the kernel's engine, its memory and its threads would be part of what is measured. A promise
    that does not hold is in the output, and no error. Raises ConfigError for an unknown benchmark.
    """
    if arguments[0] not in [*BENCHMARKS, "all"]:
        known = ", ".join(BENCHMARKS)
        raise ConfigError(
            f"there is no benchmark {arguments[0]!r}.{did_you_mean(arguments[0], BENCHMARKS)}", hint=f"Known: {known}."
        )
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
    if process.returncode not in (0, _PROMISE_NOT_HELD):
        raise ExsaError(f"the benchmark ended with status {process.returncode}: {last}.", hint="Its output is above.")
