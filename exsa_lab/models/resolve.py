"""From what a user wrote to a file on this machine."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from exsa_lab.config import did_you_mean
from exsa_lab.errors import ConfigError, ModelNotFound, shown
from exsa_lab.files import expand
from exsa_lab.models import hub
from exsa_lab.models.catalog import PAIRS, find_entry, is_installed, known_names


@dataclass(frozen=True, slots=True)
class ResolvedModel:
    """A model file, and the name of the draft the catalog suggests for it."""

    path: Path
    name: str
    draft: str | None = None
    is_known: bool = False
    """Whether it is a file of the catalog."""


def resolve(name: str | Path) -> ResolvedModel:
    """Find a model: catalog name, path to a ``.gguf`` file, ``hf:owner/repo/file.gguf`` or ``hf:owner/repo:Q4_K_M``.

    What comes from the hub is downloaded if it is not in the cache. Raises ModelNotFound with the nearest known name
    or with what to install.

    Example: ``resolve("smollm2-135m").path``.
    """
    text = canonical(name)
    if text.startswith(hub.PREFIX):
        path = hub.fetch(hub.parse(text))
        return ResolvedModel(path, path.stem)
    entry = find_entry(text)
    if entry is not None:
        pair = PAIRS.get(text)
        return ResolvedModel(entry.fetch(), text, pair.draft.name if pair and pair.draft else None, is_known=True)
    if _looks_like_path(text):
        path = expand(text)
        if not _exists(path):
            raise ModelNotFound(f"there is no file {_as_typed(path)}.", hint=_near_file(path) or "Check the path.")
        return ResolvedModel(path, path.stem, is_known=is_installed(path))
    raise ModelNotFound(
        f"there is no model {shown(text)} in the catalog.",
        hint=did_you_mean(text, known_names()).strip()
        or "%exsa_models lists them; a .gguf path or hf:owner/repo works too.",
    )


def canonical(name: str | Path) -> str:
    """Return a name that means the same wherever this process goes: a relative path becomes an absolute one.

    Raises ConfigError for what is neither a text nor a path.
    """
    if not isinstance(name, str | Path):
        raise ConfigError(f"the model is {shown(name)}.", hint="Name it by a text or a path.")
    text = str(name).strip()
    if text.startswith(hub.PREFIX) or find_entry(text) is not None or not _looks_like_path(text):
        return text
    return str(expand(text).absolute())


def model_path(name: str | Path) -> Path:
    """Return a model's file on this machine, downloading it where needed; raises ModelNotFound.

    Example: ``read_facts(model_path("smollm2-135m")).layers``.
    """
    return resolve(name).path


def resolve_draft(draft: str | Path | None, target: str | Path | ResolvedModel) -> ResolvedModel | None:
    """Find the draft for a target: None for none, "auto" for the catalog's suggestion, otherwise like `resolve`."""
    if draft is None or str(draft).lower() == "none":
        return None
    if str(draft) != "auto":
        return resolve(draft)
    suggested = target.draft if isinstance(target, ResolvedModel) else resolve(target).draft
    return resolve(suggested) if suggested else None


def _looks_like_path(text: str) -> bool:
    return text.endswith(".gguf") or "/" in text or "\\" in text or text.startswith("~") or _exists(Path(text))


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except (OSError, ValueError):  # A name too long, or with a null byte.
        return False


def _as_typed(path: Path) -> Path:
    """A path below the working folder, without that folder: the name was made absolute before it was looked up."""
    try:
        return path.relative_to(Path.cwd())
    except (OSError, ValueError):
        return path


def _near_file(path: Path) -> str:
    try:
        names = [entry.name for entry in path.parent.glob("*.gguf")]
    except OSError:
        return ""
    return did_you_mean(path.name, names).strip()
