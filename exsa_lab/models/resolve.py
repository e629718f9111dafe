"""From what a user wrote to a file on this machine."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from exsa_lab.config import did_you_mean
from exsa_lab.errors import ModelNotFound
from exsa_lab.models.catalog import PAIRS, find_entry, known_names


@dataclass(frozen=True, slots=True)
class ResolvedModel:
    """A model file, and the name of the draft the catalog suggests for it."""

    path: Path
    name: str
    draft: str | None = None


def resolve(name: str | Path) -> ResolvedModel:
    """Find a model: catalog name, path to a ``.gguf`` file, or ``"hf:owner/repo/file.gguf"``.

    Raises ModelNotFound with the nearest known name or with what to install.

    Example: ``resolve("smollm2-135m").path``.
    """
    text = str(name).strip()
    if text.startswith("hf:"):
        raise ModelNotFound(f"{text} cannot be fetched: hub downloads are not supported.", hint="Give a path instead.")
    entry = find_entry(text)
    if entry is not None:
        pair = PAIRS.get(text)
        return ResolvedModel(entry.local_path(), text, pair.draft.name if pair and pair.draft else None)
    if _looks_like_path(text):
        path = Path(text).expanduser()
        if not path.exists():
            raise ModelNotFound(f"there is no file {path}.", hint=_near_file(path) or "Check the path.")
        return ResolvedModel(path.absolute(), path.stem)
    raise ModelNotFound(
        f"there is no model {text!r} in the catalog.",
        hint=did_you_mean(text, known_names()).strip() or f"Known: {', '.join(known_names())}; or give a .gguf path.",
    )


def resolve_draft(draft: str | Path | None, target: str | Path | ResolvedModel) -> ResolvedModel | None:
    """Find the draft for a target: None for none, "auto" for the catalog's suggestion, otherwise like `resolve`."""
    if draft is None or str(draft).lower() == "none":
        return None
    if str(draft) != "auto":
        return resolve(draft)
    suggested = target.draft if isinstance(target, ResolvedModel) else resolve(target).draft
    return resolve(suggested) if suggested else None


def _looks_like_path(text: str) -> bool:
    return text.endswith(".gguf") or "/" in text or "\\" in text or text.startswith("~") or Path(text).is_file()


def _near_file(path: Path) -> str:
    try:
        names = [entry.name for entry in path.parent.glob("*.gguf")]
    except OSError:
        return ""
    return did_you_mean(path.name, names).strip()
