"""Models from the Hugging Face hub: ``hf:owner/repo/file.gguf`` or ``hf:owner/repo:Q4_K_M``.

huggingface_hub does the work (its cache, resumed downloads, tokens, offline mode and progress bars) and is imported
only here. What is in its cache already is used without asking the network. What was downloaded is read once more and
compared with its SHA-256: the pinned one, else the one that the hub states.
"""

from __future__ import annotations

import hashlib
import importlib
import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from exsa_lab.config import did_you_mean
from exsa_lab.errors import ConfigError, InvalidModel, ModelNotFound, how_to_install
from exsa_lab.files import expand
from exsa_lab.models.auxiliary import is_auxiliary_file, is_auxiliary_name
from exsa_lab.models.pins import Pin

PREFIX = "hf:"
_NAME = re.compile(r"[\w.-]+")
_PART = re.compile(r"-(\d{5})-of-(\d{5})\.gguf$", re.IGNORECASE)
_DEFAULT_QUANTS = ("Q4_K_M", "Q8_0", "Q4_0", "F16")
_MAX_PARTS = 999
_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class HubName:
    """A model on the hub: a repository and a file in it, or a quantisation to look for."""

    repo: str
    file: str = ""
    quant: str = ""

    def __str__(self) -> str:
        return f"{PREFIX}{self.repo}" + (f"/{self.file}" if self.file else f":{self.quant}" if self.quant else "")


def parse(text: str) -> HubName:
    """Read ``hf:owner/repo/file.gguf``, ``hf:owner/repo:QUANT`` or ``hf:owner/repo``; raises ConfigError otherwise."""
    rest = text.removeprefix(PREFIX).strip("/ ")
    head, _, quant = rest.partition(":")
    owner, _, tail = head.partition("/")
    repo, _, file = tail.partition("/")
    folders = file.split("/") if file else []
    is_clean = all(_NAME.fullmatch(part) and part.strip(".") for part in (owner, repo, *folders))
    if not is_clean or (file and (quant or not file.endswith(".gguf"))) or (quant and not _NAME.fullmatch(quant)):
        raise ConfigError(
            f"{text!r} does not name a model on the hub.",
            hint="Write hf:owner/repo/file.gguf or hf:owner/repo:Q4_K_M.",
        )
    return HubName(f"{owner}/{repo}", file, quant)


def cache_root() -> Path:
    """The folder where huggingface_hub keeps downloads."""
    if cache := os.environ.get("HF_HUB_CACHE"):
        return expand(cache)
    home = os.environ.get("HF_HOME") or Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache") / "huggingface"
    return expand(home) / "hub"


def find_cached(name: HubName, pin: Pin | None = None) -> Path | None:
    """Return the file (the first part of a split one) if all of it is in the cache; asks no network.

    ``pin`` leaves out other states of the repository.
    """
    folder = cache_root() / f"models--{name.repo.replace('/', '--')}" / "snapshots"
    try:
        snapshots = sorted(folder.iterdir(), key=lambda path: path.stat().st_mtime, reverse=True)
    except OSError:
        return None
    for snapshot in snapshots:
        files = {path.relative_to(snapshot).as_posix(): path for path in snapshot.rglob("*.gguf") if path.exists()}
        while chosen := name.file if name.file in files else "" if name.file else _choose(name, files):
            if name.file or not is_auxiliary_file(files[chosen]):
                break
            del files[chosen]  # Its name did not tell.
        is_whole = bool(chosen) and all(part in files for part in parts_of(chosen))
        if is_whole and (pin is None or _is_pinned(snapshot, pin)):
            return files[chosen]
    return None


def _is_pinned(snapshot: Path, pin: Pin) -> bool:
    """The cache names a large file by its hash, where it may make links."""
    return snapshot.name == pin.revision or all(
        (snapshot / file).resolve().name == digest for file, digest in pin.hashes.items()
    )


def name_of(path: Path) -> HubName | None:
    """Return the name of a file in the cache, None for a file elsewhere."""
    try:
        folder, _, _, *parts = path.relative_to(cache_root()).parts
    except ValueError:
        return None
    owner, _, repo = folder.removeprefix("models--").partition("--")
    return HubName(f"{owner}/{repo}", "/".join(parts)) if repo and parts else None


def fetch(name: HubName, pin: Pin | None = None) -> Path:
    """Return the file, downloading what is missing; of a split model all parts, and the first one is returned.

    Raises ModelNotFound with what to do: no such repository or file (with the nearest name), access denied, offline;
    InvalidModel where what was downloaded has another hash than it should.
    """
    cached = find_cached(name, pin)
    if cached is not None:
        return cached
    hub = _import_hub(name)
    try:
        _probe(hub)
        files = [] if name.file else _list_files(hub, name)
        while True:
            chosen = name.file or _choose(name, files) or _no_match(name, files)
            first, *rest = parts_of(chosen)
            path = _download(hub, name, first, pin)
            if name.file or not is_auxiliary_file(path):
                break
            files.remove(chosen)  # Its name did not tell.
        for part in rest:
            _download(hub, name, part, pin)
    except (ModelNotFound, InvalidModel):
        raise
    except Exception as cause:  # huggingface_hub's own errors, and those of the HTTP client beneath it.
        raise _translated(hub, name, cause) from cause
    return path


def parts_of(file: str) -> list[str]:
    """Return all files of a split model (``-00001-of-00003.gguf``) in order, or the file itself."""
    match = _PART.search(file)
    if not match or not 1 < int(match[2]) <= _MAX_PARTS:
        return [file]
    return [f"{file[: match.start()]}-{part:05}-of-{match[2]}.gguf" for part in range(1, int(match[2]) + 1)]


def _choose(name: HubName, files: Iterable[str]) -> str:
    """Pick the model file of the wanted quantisation, "" where there is none; what belongs to a model is none."""
    models = sorted(file for file in files if file.lower().endswith(".gguf") and not is_auxiliary_name(file))
    models = [file for file in models if parts_of(file)[0] == file]  # Of a split model the first part stands for all.
    for quant in (name.quant,) if name.quant else _DEFAULT_QUANTS:
        tag = re.compile(rf"(?<![a-z0-9]){re.escape(quant)}(?![a-z0-9_])", re.IGNORECASE)
        # Some repositories offer a model whole and in parts: whole ones first, then the shortest name.
        matching = [(len(parts_of(file)), len(file), file) for file in models if tag.search(Path(file).name)]
        if matching:
            return min(matching)[2]
    return models[0] if len(models) == 1 and not name.quant else ""


def _no_match(name: HubName, files: Iterable[str]) -> str:
    models = sorted(file for file in files if file.lower().endswith(".gguf"))
    what = f"no {name.quant} file" if name.quant else "no model file that is the obvious choice"
    shown = ", ".join(models[:6]) or "none at all"
    raise ModelNotFound(
        f"{name.repo} has {what}.", hint=f"Its GGUF files: {shown}{', ...' if len(models) > 6 else ''}."
    )


def _import_hub(name: HubName) -> Any:
    try:
        return importlib.import_module("huggingface_hub")
    except ImportError as cause:
        raise ModelNotFound(
            f"{name} is not on this machine and downloading needs huggingface_hub.",
            hint=how_to_install("huggingface-hub"),
        ) from cause


def _endpoint() -> str | None:
    # Read at each call: huggingface_hub itself looks only when it is imported.
    return os.environ.get("HF_ENDPOINT") or None


def _probe(hub: Any) -> None:
    """Ask the hub for anything, once: huggingface_hub would try for 23 s before it says that there is no network."""
    constants = importlib.import_module("huggingface_hub.constants")
    hub.get_session().head(_endpoint() or constants.ENDPOINT, timeout=10)


def _list_files(hub: Any, name: HubName) -> list[str]:
    files: list[str] = hub.HfApi(endpoint=_endpoint()).list_repo_files(name.repo)
    return files


def _download(hub: Any, name: HubName, file: str, pin: Pin | None) -> Path:
    revision = pin.revision if pin else None
    where = {"revision": revision, "endpoint": _endpoint()}
    path = Path(hub.hf_hub_download(name.repo, file, cache_dir=str(cache_root()), **where))
    if pin is not None:
        expected = pin.hashes[file]
    else:  # of files that are stored as such; small ones have a hash of git's
        expected = (hub.get_hf_file_metadata(hub.hf_hub_url(name.repo, file, **where)).etag or "").strip('"')
    if _SHA256.fullmatch(expected):
        _verify(path, expected, f"{file} of {name.repo}")
    return path


def _verify(path: Path, expected: str, what: str) -> None:
    with path.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != expected:
        for kept in (path.resolve(), path):  # else the next call would take it from the cache
            kept.unlink(missing_ok=True)
        raise InvalidModel(
            f"what was downloaded as {what} is something else: its SHA-256 is {found[:12]}..., not {expected[:12]}...",
            hint="It was deleted; try again, and if that happens again, do not use this source.",
        )


def _translated(hub: Any, name: HubName, cause: Exception) -> ModelNotFound:
    errors: Any = importlib.import_module("huggingface_hub.errors")
    if isinstance(cause, errors.GatedRepoError):
        return ModelNotFound(
            f"{name.repo} asks you to accept its licence first.",
            hint=f"Accept it at https://huggingface.co/{name.repo} and log in with `hf auth login`.",
        )
    if isinstance(cause, errors.RepositoryNotFoundError):
        return ModelNotFound(
            f"there is no repository {name.repo} on the hub.",
            hint="Check the name; a private one needs `hf auth login`.",
        )
    if isinstance(cause, errors.EntryNotFoundError) and not isinstance(cause, errors.LocalEntryNotFoundError):
        return ModelNotFound(f"{name.repo} has no file {name.file}.", hint=_near_file(hub, name))
    if isinstance(cause, errors.OfflineModeIsEnabled):
        return ModelNotFound(
            f"{name} is not in the cache and HF_HUB_OFFLINE is set.", hint="Unset it, or give a .gguf path."
        )
    reason = " ".join(str(cause).split())[:160] or type(cause).__name__
    return ModelNotFound(
        f"{name} is not in the cache and the hub cannot be reached: {reason.rstrip('.')}.",
        hint="Check the connection and try again: a download goes on where it stopped.",
    )


def _near_file(hub: Any, name: HubName) -> str:
    try:
        files = [file for file in _list_files(hub, name) if file.endswith(".gguf")]
    except Exception:  # Only a suggestion.
        return "Check the name."
    return did_you_mean(name.file, files).strip() or f"Its GGUF files: {', '.join(files[:6]) or 'none'}."
