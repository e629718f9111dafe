"""The notebook commands: parse, call, display, and nothing else."""

from __future__ import annotations

from exsa_lab.magics.magics import ExsaMagics

__all__ = ["ExsaMagics"]
