"""Benchmarks for those who work on exsa_lab: ``python -m benchmarks NAME``, in a clone.

They are written and run like those of `exsa_lab.bench`, which come with the package.
"""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["main"]


def main(argv: Sequence[str] | None = None) -> int:
    """Run benchmarks by command line; returns the exit status, see `exsa_lab.bench.cli`."""
    from benchmarks.suite import SUITE
    from exsa_lab.bench.cli import main as run

    return run(argv, SUITE)
