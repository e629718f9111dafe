"""The folder for files that can be made again."""

from __future__ import annotations

from pathlib import Path

from exsa_lab.files import cache_base, make_folder


def cache_folder(name: str) -> Path:
    """Return (and make) a folder below ``$XDG_CACHE_HOME/exsa_lab``, by default ``~/.cache/exsa_lab``.

    Raises ConfigError where it cannot be made.
    """
    return make_folder(cache_base() / name)
