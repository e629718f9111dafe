"""Benchmarks for users: `python -m exsa_lab.bench NAME`, or ``%exsa_bench NAME`` in a notebook.

Every benchmark runs exsa_lab and what it is compared with side by side, round by round, and prints ratios.
"""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["main"]


def main(argv: Sequence[str] | None = None) -> int:
    """Run benchmarks by command line; returns the exit status. See `exsa_lab.bench.cli`."""
    from exsa_lab.bench.cli import main as run

    return run(argv)
