"""Measured cost curves on disk, so that a second load need not measure again. Nothing here ever breaks a load."""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from exsa_lab import files
from exsa_lab.costs.model import CostModel
from exsa_lab.errors import ConfigError

_FORMAT = 5
_MAX_POINTS = 4096
_MAX_TOKENS = 1 << 20

Facts = Mapping[str, str | int | float | bool | None]
"""All the costs depend on: model hashes, machine, build of llama.cpp, threads, context settings."""


@dataclass(frozen=True, slots=True)
class Cached:
    """What the cache had. ``note`` says in one sentence what was wrong with it, and is empty if nothing was."""

    costs: CostModel | None = None
    note: str = ""


def default_folder() -> Path:
    """The user's cache folder for exsa_lab; it need not exist, and where the user has no home it never will."""
    if local := os.environ.get("LOCALAPPDATA"):
        return Path(local) / "exsa_lab" / "cache"
    try:
        return files.cache_base()
    except ConfigError:
        return Path(os.devnull) / "exsa_lab"


def cache_path(folder: Path, facts: Facts) -> Path:
    """The file for these facts: any difference in one of them names another file."""
    text = json.dumps(dict(facts), sort_keys=True)
    return folder / f"costs-{hashlib.sha256(text.encode()).hexdigest()[:16]}.json"


def load_costs(folder: Path, facts: Facts) -> Cached:
    """Read the curves measured under exactly these facts. Raises nothing: what fails is told in the note.

    A file that does not exist is no failure. One that is unreadable, broken or about other facts (copied from
    another machine) is, and its curves are not used.
    """
    path = cache_path(folder, facts)
    try:
        data = files.read_json(path)
        if data["format"] != _FORMAT:
            return Cached(note=f"The cost cache {path} has format {data['format']}, not {_FORMAT}; measuring anew.")
        if data["facts"] != dict(facts):
            return Cached(note=f"The cost cache {path} is about another machine or model; measuring anew.")
        return Cached(costs_from_json(data))
    except FileNotFoundError:
        return Cached()
    except OSError as error:
        return Cached(note=f"The cost cache {path} cannot be read ({error.strerror or error}); measuring anew.")
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError):
        return Cached(note=f"The cost cache {path} is damaged; measuring anew.")


def save_costs(folder: Path, facts: Facts, costs: CostModel) -> str:
    """Write the curves as they were measured, whole or not at all; returns a note where that failed, else ""."""
    data = {"format": _FORMAT, "facts": dict(facts), **costs_to_json(costs)}
    path = cache_path(folder, facts)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        files.write_json(path, data, indent=1)
    except (OSError, ValueError, TypeError) as error:
        return f"The measured costs could not be kept in {folder} ({error}); the next load measures again."
    return ""


def costs_to_json(costs: CostModel) -> dict[str, Any]:
    """Return the curves as they were measured."""
    data: dict[str, Any] = {
        "target": costs.target.points,
        "draft": costs.draft.points if costs.draft else None,
        "seconds_per_sequence": costs.seconds_per_sequence,
        "scatter": costs.scatter,
    }
    if any(costs.switch_seconds.values()):
        data["switch_seconds"] = costs.switch_seconds
    return data


def costs_from_json(data: dict[str, Any]) -> CostModel:
    """Rebuild the curves; raises ValueError, KeyError or TypeError for what is none."""
    draft = _points(data["draft"]) if data["draft"] is not None else None
    switch = data.get("switch_seconds", {})
    costs = CostModel.from_measurements(
        _points(data["target"]),
        draft,
        seconds_per_sequence=_number(data["seconds_per_sequence"]),
        switch_seconds={"target": _number(switch.get("target", 0)), "draft": _number(switch.get("draft", 0))},
    )
    costs.scatter = _number(data["scatter"], below=math.inf)
    return costs


def _number(value: Any, below: float = 10) -> float:
    number = float(value)
    if not 0 <= number < below:
        raise ValueError(f"{number} is no cost in seconds")
    return number


def _points(data: dict[str, Any]) -> dict[int, float]:
    points = {int(n): float(seconds) for n, seconds in data.items()}
    if len(points) > _MAX_POINTS or any(n > _MAX_TOKENS for n in points):
        raise ValueError("no decode was of so many tokens")
    return points
