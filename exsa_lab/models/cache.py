"""The folder for files that can be made again."""

from __future__ import annotations

import os
from pathlib import Path


def cache_folder(name: str) -> Path:
    """Return (and make) a folder below ``$XDG_CACHE_HOME/exsa_lab``, by default ``~/.cache/exsa_lab``."""
    base = os.environ.get("XDG_CACHE_HOME")
    folder = (Path(base) if base else Path.home() / ".cache") / "exsa_lab" / name
    folder.mkdir(parents=True, exist_ok=True)
    return folder
