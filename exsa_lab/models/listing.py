"""What models there are: known by name, on this machine, and able to run on it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from exsa_lab.errors import ConfigError, ModelError
from exsa_lab.hardware import Hardware
from exsa_lab.models import hub
from exsa_lab.models.auxiliary import is_auxiliary_name
from exsa_lab.models.cache import cache_folder
from exsa_lab.models.catalog import PAIRS, ModelEntry
from exsa_lab.models.memory import GIB, GPU_MARGIN


class Where(StrEnum):
    """Where a model's file is."""

    BUNDLED = "comes with exsa_lab"
    INSTALLED = "installed"
    CACHED = "downloaded"
    CONVERTED = "converted"
    ELSEWHERE = "not here"


class Fit(StrEnum):
    """How a model would run on this machine."""

    GPU = "on the GPU"
    PARTLY = "partly on the GPU"
    CPU = "on the CPU"
    TOO_LARGE = "too large"


@dataclass(frozen=True, slots=True)
class ListedModel:
    """One row of the models table."""

    name: str
    """What to give to `exsa_lab.load`: a catalog name, a name on the hub or a path."""
    title: str
    parameters: float | None
    """In billions, None where it is not known without opening the file."""
    licence: str
    size_bytes: int
    where: Where
    path: Path | None
    fit: Fit
    draft: str | None
    """The draft that "auto" picks."""
    note: str = ""
    """How to get it, where it is not here."""
    is_on_hub: bool = False
    """Whether loading it downloads it."""


def list_models(hardware: Hardware) -> list[ListedModel]:
    """List the catalog, then other GGUF files in the hub's cache and conversions; opens no file, asks no network.

    ``fit`` is judged by size: weights, a fifth more for cache and buffers, and a margin.

    Example: ``[model.name for model in list_models(detect()) if model.fit != "too large"]``.
    """
    rows = []
    drafts = {pair.draft.name: pair.draft for pair in PAIRS.values() if pair.draft is not None}
    entries = {name: pair.target for name, pair in PAIRS.items()} | drafts
    for name, entry in entries.items():
        pair = PAIRS.get(name)
        rows.append(_from_entry(entry, pair.draft.name if pair and pair.draft else None, hardware))
    listed = {row.path for row in rows}
    rows += [_from_file(path, where, hardware) for path, where in _other_files() if path not in listed]
    return rows


def fit_of(size_bytes: int, hardware: Hardware) -> Fit:
    """Judge from the file's size where a model would run."""
    needed = size_bytes * 1.2 + 0.5 * GIB
    free = [gpu.free_memory or 0 for gpu in hardware.gpus] if hardware.can_offload else []
    if free and needed <= sum(free) - GPU_MARGIN * len(free):
        return Fit.GPU
    if hardware.available_memory and needed > hardware.available_memory + sum(free):
        return Fit.TOO_LARGE
    return Fit.PARTLY if sum(free) > 2 * GPU_MARGIN else Fit.CPU


def _from_entry(entry: ModelEntry, draft: str | None, hardware: Hardware) -> ListedModel:
    path, note = None, ""
    try:
        path = entry.local_path()
    except ModelError as error:
        note = error.hint or error.message
    here = Where.CACHED if entry.repo else Where.INSTALLED if entry.package else Where.BUNDLED
    size = sum(part.stat().st_size for part in _parts(path)) if path else round(entry.gigabytes * 1e9)
    where = here if path else Where.ELSEWHERE
    return ListedModel(
        name=entry.name,
        title=entry.title,
        parameters=entry.parameters,
        licence=entry.licence,
        size_bytes=size,
        where=where,
        path=path,
        fit=fit_of(size, hardware),
        draft=draft,
        note=note,
        is_on_hub=bool(entry.repo),
    )


def _from_file(path: Path, where: Where, hardware: Hardware) -> ListedModel:
    size = sum(part.stat().st_size for part in _parts(path))
    name = hub.name_of(path) if where is Where.CACHED else None
    return ListedModel(str(name or path), path.stem, None, "", size, where, path, fit_of(size, hardware), None)


def _parts(path: Path) -> list[Path]:
    parts = [path.with_name(name) for name in hub.parts_of(path.name)]
    return [part for part in parts if part.exists()] or [path]


def _other_files() -> Iterator[tuple[Path, Where]]:
    """GGUF files beyond the catalog's; of a split model the first part only."""
    try:
        cached = sorted(hub.cache_root().glob("models--*/snapshots/*/**/*.gguf"))
        converted = sorted(cache_folder("converted").glob("*.gguf"))
    except (OSError, ConfigError):  # no folder for either: then there are none
        return
    for path in cached:
        if path.exists() and not is_auxiliary_name(path.name) and hub.parts_of(path.name)[0] == path.name:
            yield path, Where.CACHED
    for path in converted:
        yield path, Where.CONVERTED
