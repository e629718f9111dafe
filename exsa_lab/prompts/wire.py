"""Marked values as JSON, for a template that is rendered in another process."""

from __future__ import annotations

import itertools
from typing import Any

from exsa_lab.prompts.marked import Marked

Runs = list[tuple[int, int]]
"""Marks as (code point, how many in a row)."""


def packed(value: Any) -> Any:
    """Return a value as JSON can hold it: dictionaries as lists of pairs, marked texts with the runs of their marks."""
    if isinstance(value, Marked):
        return {"text": str(value), "runs": runs_of(value)}
    if isinstance(value, dict):
        return {"items": [[packed(key), packed(item)] for key, item in value.items()]}
    return [packed(item) for item in value] if isinstance(value, list) else value


def unpacked(value: Any) -> Any:
    """Return what `packed` was given."""
    if isinstance(value, dict) and "items" in value:
        return {unpacked(key): unpacked(item) for key, item in value["items"]}
    if isinstance(value, dict):
        return marked_by(value["text"], value["runs"])
    return [unpacked(item) for item in value] if isinstance(value, list) else value


def runs_of(text: str) -> Runs:
    return [(ord(m), len(list(run))) for m, run in itertools.groupby(text.marks)] if isinstance(text, Marked) else []


def marked_by(text: str, runs: Runs) -> str:
    return Marked(text, "".join(chr(code) * num for code, num in runs)) if runs else text
