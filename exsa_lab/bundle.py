"""The notebooks that come with exsa_lab, and how they reach the user's folder."""

from __future__ import annotations

import hashlib
from pathlib import Path

from exsa_lab.errors import ExsaError
from exsa_lab.files import read_json, write_bytes, write_json

# What was copied, by name: a file that still has this hash was not touched by the user.
_RECORD = ".exsa_lab.json"


def notebooks_folder() -> Path:
    """Return the folder of the bundled notebooks: inside the package, or beside it in a source checkout."""
    package = Path(__file__).resolve().parent
    for folder in (package / "notebooks", package.parent / "notebooks"):
        if folder.is_dir():
            return folder
    raise ExsaError("the bundled notebooks are missing.", hint="Install exsa-lab again.")


def copy_notebooks(folder: Path, source: Path | None = None) -> list[str]:
    """Copy the bundled notebooks into ``folder``; returns one line for each one that was written or kept.

    A notebook the user changed is never overwritten: a newer version is put beside it, its hash in the name.
    """
    folder.mkdir(parents=True, exist_ok=True)
    record_path = folder / _RECORD
    record = _read_record(record_path)
    lines = []
    for notebook in sorted((source or notebooks_folder()).glob("*.ipynb")):
        new = notebook.read_bytes()
        digest = hashlib.sha256(new).hexdigest()
        line = _place(new, digest, folder / notebook.name, record.get(notebook.name))
        record[notebook.name] = digest
        if line:
            lines.append(line)
    write_json(record_path, record, indent=1)
    return lines


def _place(new: bytes, digest: str, path: Path, copied: str | None) -> str | None:
    if not path.exists():
        write_bytes(path, new)
        return f"Copied {path}"
    current = hashlib.sha256(path.read_bytes()).hexdigest()
    if digest in (current, copied):
        # Up to date, or changed by the user with nothing newer to offer.
        return None
    if current == copied:
        write_bytes(path, new)
        return f"Updated {path}"
    beside = path.with_name(f"{path.stem}-{digest[:8]}{path.suffix}")
    write_bytes(beside, new)
    return f"Kept your {path}; the new version is {beside}"


def _read_record(path: Path) -> dict[str, str]:
    try:
        record = read_json(path)
    except (FileNotFoundError, ValueError):
        return {}
    return {str(name): str(digest) for name, digest in record.items()} if isinstance(record, dict) else {}
