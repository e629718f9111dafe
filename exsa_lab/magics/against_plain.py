"""What ``%%exsa --race`` compares."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_DRAFTING = ("drafter", "draft_length")


def against_plain(params: Mapping[str, Any]) -> dict[str, Any]:
    """Return plain decoding and what a cell asks for as named settings; ``auto`` where it asks for no drafts either.

    Example: ``against_plain({"draft_length": 3})`` is
    ``{"plain": {"draft_length": 0}, "drafted": {"draft_length": 3}}``.
    """
    shared = {name: value for name, value in params.items() if name not in _DRAFTING}
    drafting = {name: params[name] for name in _DRAFTING if name in params}
    if drafting.get("draft_length") == 0 or drafting.get("drafter") == "none":
        drafting = {}
    return {"plain": {**shared, "draft_length": 0}, "drafted" if drafting else "auto": {**shared, **drafting}}
