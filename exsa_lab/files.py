"""How files are written and read: whole or not at all, checked before they are believed, known by what they are.

Everything is serialised before a file is opened, written beside its place, forced to the disk and then renamed. A full
disk, an interrupt or a power cut leaves the old file or the new one.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import importlib.resources
import json
import os
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock

from exsa_lab.errors import LOAD_AGAIN, ConfigError, ModelLoadError, shown

MAX_JSON_BYTES = 1 << 30
"""Larger files are refused before they are read; the trace of a million tokens has about 300 MB."""
STALE_S = 86_400.0
"""A partial file that nobody wrote to for so long was left over."""
_HEAD_BYTES = 1 << 16


# Writing


def write_bytes(path: Path, data: bytes) -> Path:
    """Put a file in place, whole or not at all; raises OSError where that fails, the old file untouched.

    A link stays one: what it names is replaced. What is no file, a device say, is left alone.
    """
    given, path = path, path.resolve()
    if path.exists() and not path.is_file():
        raise OSError(errno.EINVAL, "it is no regular file")
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name[:64]}.", suffix=".part")
    part = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        _copy_mode(path, part)
        part.replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            part.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)
    return given


def write_json(path: Path, data: Any, *, indent: int | None = None) -> Path:
    """Write strict JSON; raises ValueError or TypeError for what JSON does not have, before anything is opened."""
    return write_bytes(path, to_json_bytes(data, indent=indent))


def to_json_bytes(data: Any, *, indent: int | None = None) -> bytes:
    """Serialise strictly: no NaN, no infinity. Half a character (a lone surrogate) becomes its JSON escape."""
    text = json.dumps(data, ensure_ascii=False, allow_nan=False, indent=indent)
    return text.encode("utf-8", "backslashreplace")  # of a surrogate: \udc80, which is how JSON writes it


def sync_file(path: Path) -> None:
    """Force what another process wrote to the disk; raises OSError where that fails."""
    with path.open("rb+") as file:
        os.fsync(file.fileno())


def sync_folder(folder: Path) -> None:
    """Make a rename last; some systems cannot open a folder, and then it lasts as long as they say."""
    with contextlib.suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def _copy_mode(path: Path, part: Path) -> None:
    """A new file gets the permissions the old one had, or those the user's umask gives, not those of a secret."""
    with contextlib.suppress(OSError):
        try:
            mode = path.stat().st_mode & 0o777
        except FileNotFoundError:
            mask = os.umask(0)
            os.umask(mask)
            mode = 0o666 & ~mask
        part.chmod(mode)


def remove_stale_parts(folder: Path, *, older_than_s: float = STALE_S) -> None:
    """Remove partial files that whoever wrote them left behind; what cannot be removed stays."""
    for part in [*folder.glob("*.part"), *folder.glob(".*.part")]:
        with contextlib.suppress(OSError):
            if time.time() - part.stat().st_mtime > older_than_s:
                part.unlink()


# Reading


def read_json(path: Path) -> Any:
    """Read strict JSON; raises OSError, or ValueError where the file is anything else, however it is broken."""
    if path.stat().st_size > MAX_JSON_BYTES:
        raise ValueError(f"it has more than {MAX_JSON_BYTES:,} bytes")
    return parse_json(path.read_bytes())


def read_data(package: str, name: str) -> Any:
    """Read a JSON file that comes with the package, such as ``read_data("exsa_lab.distill", "held_out.json")``."""
    return parse_json(importlib.resources.files(package).joinpath("data", name).read_bytes())


def parse_json(data: bytes) -> Any:
    """Parse strict JSON: UTF-8, no NaN, every key once; raises ValueError for anything else."""
    try:
        return json.loads(data.decode("utf-8"), parse_constant=_refuse_constant, object_pairs_hook=_unique)
    except RecursionError as cause:
        raise ValueError("it is nested too deeply") from cause


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key appears twice")
    return found


# Knowing


@dataclass(frozen=True, slots=True)
class FileIdentity:
    """What tells a file from another one that took its path."""

    size: int
    mtime_ns: int
    inode: int
    head: str
    """Hash of its beginning, which for a model is its header."""

    @classmethod
    def of(cls, path: Path) -> FileIdentity:
        """Look at a file; raises OSError where it is not there."""
        with path.open("rb") as file:
            status = os.fstat(file.fileno())
            head = hashlib.sha256(file.read(_HEAD_BYTES)).hexdigest()[:32]
        return cls(status.st_size, status.st_mtime_ns, status.st_ino, head)

    def is_of(self, path: Path) -> bool:
        """Whether no other file took its place; one that is gone was not replaced."""
        try:
            return FileIdentity.of(path) == self
        except OSError:
            return True

    def check(self, path: Path) -> None:
        """Raise ModelLoadError where another model took its place."""
        if not self.is_of(path):
            raise ModelLoadError(f"{path.name} is another file than it was.", hint=LOAD_AGAIN)


def sha256(path: Path) -> str:
    """Hash all of a file; raises OSError where it cannot be read."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


# Folders


def cache_base() -> Path:
    """The user's folder for what exsa_lab can make again; it need not exist.

    Raises ConfigError where neither a setting nor the system says where the user's home is.
    """
    for name in ("XDG_CACHE_HOME", "LOCALAPPDATA"):
        if base := os.environ.get(name):
            return Path(base) / "exsa_lab"
    return home() / ".cache" / "exsa_lab"


def home() -> Path:
    """The user's home; raises ConfigError where the system does not know it."""
    try:
        return Path.home()
    except RuntimeError as cause:
        raise ConfigError("this user has no home folder.", hint="Set XDG_CACHE_HOME to a folder.") from cause


def expand(path: str | Path) -> Path:
    """Return the path with ``~`` replaced; raises ConfigError where that names no user, or is no path."""
    if not isinstance(path, str | os.PathLike) or isinstance(os.fspath(path), bytes):
        raise ConfigError(f"the path is {shown(path)}.", hint="It must be a text or a pathlib.Path.")
    try:
        return Path(path).expanduser()
    except (RuntimeError, ValueError) as cause:
        raise ConfigError(f"{shown(str(path))} names no folder: {cause}.", hint="Write the whole path.") from cause


def make_folder(folder: Path) -> Path:
    """Make a folder with those above it; raises ConfigError where that is not allowed."""
    with as_config_error(
        f"the folder {folder} cannot be made", hint="Set XDG_CACHE_HOME to a folder you may write to."
    ):
        folder.mkdir(parents=True, exist_ok=True)
    return folder


@contextlib.contextmanager
def as_config_error(what: str, *, hint: str) -> Iterator[None]:
    """Say in one sentence what could not be read or written."""
    try:
        yield
    except (OSError, ValueError) as cause:
        reason = getattr(cause, "strerror", None) or str(cause) or type(cause).__name__
        raise ConfigError(f"{what}: {reason}.", hint=hint) from cause


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the lock of a file, a hidden neighbour: one thread of one process at a time. Waiting can be interrupted.

    Raises ConfigError where the folder cannot be written to. The lock ends with whoever holds it, even by a crash.
    """
    lock = FileLock(path.with_name(f".{path.name}.lock"), thread_local=False)
    with as_config_error(f"{path.parent} cannot be locked", hint="Choose a folder you may write to."):
        lock.acquire(poll_interval=0.05)
    try:
        yield
    finally:
        lock.release()
