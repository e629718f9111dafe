"""Fifty prompts that have little in common, to compare outputs token for token."""

from __future__ import annotations

from exsa_lab.files import read_data

VARIED: tuple[str, ...] = tuple(read_data("exsa_lab.bench", "varied.json"))
"""Fifty prompts for chat."""
