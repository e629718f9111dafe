"""Benchmarks for users: `python -m exsa_lab.bench NAME`, or ``%exsa_bench NAME`` in a notebook.

Every benchmark runs exsa_lab and what it is compared with side by side, round by round, and prints ratios.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from exsa_lab.lazy import lazy_members

if TYPE_CHECKING:
    from exsa_lab.bench.workloads import WORKLOADS

__all__ = ["WORKLOADS", "main"]

__getattr__, __dir__ = lazy_members(__name__, {"WORKLOADS": "exsa_lab.bench.workloads"})


def main(argv: Sequence[str] | None = None, *, prog: str = "python -m exsa_lab.bench") -> int:
    """Run benchmarks by command line; returns the exit status. See `exsa_lab.bench.cli`.

    ``prog`` is the command as its usage shows it.
    """
    from exsa_lab.bench.cli import SUITE
    from exsa_lab.bench.cli import main as run

    return run(argv, replace(SUITE, prog=prog))
