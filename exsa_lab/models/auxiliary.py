"""GGUF files that are no language model by themselves: projectors, adapters, draft heads, statistics, vocabularies."""

from __future__ import annotations

import re
from pathlib import Path, PurePosixPath

from exsa_lab.errors import InvalidModel, ModelNotFound, shown
from exsa_lab.models.gguf_reader import Header, read_header

_WORDS = re.compile(
    r"(?<![a-z0-9])(mmproj|mtp|imatrix|dflash|eagle[0-9]*|vocab|lora|adapter|control[-_]?vector)(?![a-z])",
    re.IGNORECASE,
)
_TYPES = {
    "adapter": "an adapter",
    "mmproj": "a projector for images or sound",
    "imatrix": "statistics for quantisation",
    "vocab": "a vocabulary",
}
_ARCHITECTURES = {
    "clip": "a projector for images or sound",
    "controlvector": "a control vector",
    "dflash": "a draft head",
    "eagle": "a draft head",
    "eagle3": "a draft head",
    "imatrix": "statistics for quantisation",
}


def is_auxiliary_name(file: str) -> bool:
    """Whether a file's name, or its folder's, says that it is no model.

    Example: ``is_auxiliary_name("MTP/mtp-X-Q8_0.gguf")``.
    """
    return any(_WORDS.search(part) for part in PurePosixPath(file).parts)


def auxiliary_kind(header: Header) -> str | None:
    """Return what a file is that is no model, by what it says of itself; None for a model."""
    kind = str(header.metadata.get("general.type", "")).lower()
    architecture = str(header.metadata.get("general.architecture", "")).lower()
    found = _TYPES.get(kind) or _ARCHITECTURES.get(architecture)
    if found is None and not header.tensors and "tokenizer.ggml.tokens" in header.arrays:
        return _TYPES["vocab"] if header.metadata.get("split.count", 1) in (0, 1) else None
    return found


def is_auxiliary_file(path: Path) -> bool:
    """Whether a file says that it is no model; False where it cannot be read, which others tell in more words."""
    try:
        return auxiliary_kind(read_header(path)) is not None
    except (InvalidModel, ModelNotFound, OSError):
        return False


def check_is_model(path: Path, header: Header) -> None:
    """Raise InvalidModel for a file that says it is something else."""
    kind = auxiliary_kind(header)
    if kind == _TYPES["vocab"]:
        raise InvalidModel(f"{path.name} holds only a vocabulary.", hint="Give the file with the weights.")
    if kind is not None:
        says = header.metadata.get("general.type") or header.metadata.get("general.architecture")
        raise InvalidModel(
            f"{path.name} is {kind} ({shown(says)}), not a language model.", hint="Give the model it belongs to."
        )
