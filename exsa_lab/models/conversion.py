"""Converting a model's weights to another format, once, into the cache folder.

On CPU the format decides how fast several tokens at once are computed: llama.cpp rearranges some formats for its
batched kernels and not others.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from exsa_lab import files
from exsa_lab.config import did_you_mean
from exsa_lab.errors import ConfigError, ModelError, shown
from exsa_lab.hardware import detect
from exsa_lab.models.cache import cache_folder
from exsa_lab.models.gguf_facts import GGUFFacts, read_facts
from exsa_lab.models.resolve import resolve

FORMATS: dict[str, float] = {
    "f16": 16.0,
    "bf16": 16.0,
    "q8_0": 8.5,
    "q6_k": 6.6,
    "q5_k_m": 5.7,
    "q5_1": 6.0,
    "q5_0": 5.5,
    "q4_k_m": 4.9,
    "q4_1": 5.0,
    "q4_0": 4.6,
    "iq4_nl": 4.6,
    "iq4_xs": 4.4,
}
"""Formats to convert to, and about how many bits a weight takes in them."""


class Origin(NamedTuple):
    """A model file at one time: its name without the suffix, its bytes, and when it was changed."""

    stem: str
    size: int
    mtime_ns: int


_RECORD = "exsa_lab.conversion/1"
# Conversions whose checksum this process has seen to be right.
_verified: set[files.FileIdentity] = set()

_POLL_S = 0.05
_SIZE_ERROR = 1.35
"""Small models come out larger than expected: their embedding and odd-sized matrices keep more bits."""


def convert(
    model: str | Path,
    to: str = "q8_0",
    *,
    folder: Path | None = None,
    n_threads: int = 0,
    progress: Callable[[float], None] | None = None,
) -> Path:
    """Return ``model`` in the weight format ``to``, converting it if that has not been done before.

    The result goes to ``folder`` (default: exsa_lab's cache) and appears there only when it is whole, with its checksum
    beside it, which is checked before it is used again. The work is done in a child process, so an interrupt stops it
    at once and leaves nothing behind; whoever wants the same conversion meanwhile waits for it. ``progress`` is called
    with the fraction written, 0..1. A file that mostly has the format already is returned as it is.

    Raises ModelNotFound, InvalidModel, ConfigError for an unknown format, ModelError when the disk is too small or
    llama.cpp fails.

    Example: ``convert("smollm2-135m", "q8_0")``.
    """
    kind = check_format(to)
    source = resolve(model).path
    facts = read_facts(source)
    if facts.quantisation == kind.upper().removesuffix("_M"):
        return source
    wanted = converted_path(source, kind, folder)
    with files.locked(wanted):
        if not is_whole(wanted):
            files.remove_stale_parts(wanted.parent)
            expected = expected_bytes(facts, kind)
            check_disk(wanted.parent, expected)
            _convert(source, wanted, kind, n_threads or detect().usable_threads, expected, progress)
    return wanted


def check_format(to: str) -> str:
    """Return the format's name in lower case; raises ConfigError with a suggestion for an unknown one."""
    kind = to.lower() if isinstance(to, str) else ""
    if kind not in FORMATS:
        raise ConfigError(
            f"unknown weight format {shown(to)}.",
            hint=did_you_mean(kind, FORMATS).strip() or f"Known: {', '.join(FORMATS)}.",
        )
    return kind


def converted_path(source: Path, kind: str, folder: Path | None = None) -> Path:
    """Where the conversion of this very file (its size and time of change) is kept."""
    made_from = as_origin(source)
    folder = cache_folder("converted") if folder is None else folder
    return folder / f"{made_from.stem}-{made_from.size:x}-{made_from.mtime_ns:x}.{kind.upper()}.gguf"


def as_origin(path: Path) -> Origin:
    """Name, size and time of change of a file."""
    status = path.stat()
    return Origin(path.stem, status.st_size, status.st_mtime_ns)


def origin_of(path: Path) -> Origin | None:
    """Name, size and time of change of the file that a conversion was made from; None where it is none of ours.

    Example: of ``converted_path(source, "q8_0")`` those of ``source``.
    """
    name = re.fullmatch(r"(.+)-([0-9a-f]+)-([0-9a-f]+)\.(\w+)\.gguf", path.name)
    if name is None or name[4].lower() not in FORMATS:
        return None
    return Origin(name[1], int(name[2], 16), int(name[3], 16))


def checksum_path(path: Path) -> Path:
    """Where the checksum of a conversion is kept: beside it."""
    return path.with_name(f"{path.name}.sha256.json")


def is_whole(path: Path) -> bool:
    """Whether the conversion is there already, byte for byte as it was written.

    All of it is read once in a process (1 GB takes about a second); after that only if the file was changed.
    """
    try:
        identity = files.FileIdentity.of(path)
        if identity in _verified:
            return True
        record = files.read_json(checksum_path(path))
        is_right = record["format"] == _RECORD and record["size"] == identity.size
        if not is_right or record["sha256"] != files.sha256(path):
            return False
        read_facts(path)
    except (OSError, ValueError, KeyError, TypeError, ModelError):
        return False
    _verified.add(identity)
    return True


def put_in_place(part: Path, wanted: Path) -> None:
    """Make a written model the conversion; raises InvalidModel where it is not whole."""
    read_facts(part)
    files.sync_file(part)
    _keep_checksum(part, wanted)
    part.replace(wanted)
    files.sync_folder(wanted.parent)
    _verified.add(files.FileIdentity.of(wanted))


def _keep_checksum(part: Path, path: Path) -> None:
    """Before the conversion takes its place: without its checksum it would only be made again."""
    record = {"format": _RECORD, "size": part.stat().st_size, "sha256": files.sha256(part)}
    with files.as_config_error(f"the checksum of {path.name} could not be kept", hint="Free some space."):
        files.write_json(checksum_path(path), record)


def expected_bytes(facts: GGUFFacts, kind: str) -> int:
    """About how large the model will be in this format."""
    header = facts.file_bytes - facts.weight_bytes
    return round(header + facts.num_parameters * FORMATS[kind] / 8)


def check_disk(folder: Path, expected: int) -> None:
    """Raise ModelError where the folder's disk may be too small for a file of about this size."""
    free = shutil.disk_usage(folder).free
    if free < expected * _SIZE_ERROR:
        raise ModelError(
            f"the converted model takes about {expected / 1e6:,.0f} MB and {folder} has {free / 1e6:,.0f} MB free.",
            hint="Free some space, or set XDG_CACHE_HOME to a larger disk.",
        )


def _convert(
    source: Path, wanted: Path, kind: str, n_threads: int, expected: int, progress: Callable[[float], None] | None
) -> None:
    part = wanted.with_name(f"{wanted.stem}.{os.getpid()}.part")
    command = [sys.executable, "-m", "exsa_lab.runtime.quantize", str(source), str(part), kind.upper(), str(n_threads)]
    try:
        # A session of its own: the terminal's Ctrl-C must reach only this process, which then stops the child.
        with subprocess.Popen(
            command, stdin=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
        ) as child:
            try:
                _wait(child, part, expected, progress)
            finally:
                child.kill()
            _check_result(child, source, kind)
        put_in_place(part, wanted)
    finally:
        part.unlink(missing_ok=True)
    if progress is not None:
        progress(1.0)


def _wait(child: subprocess.Popen[str], part: Path, expected: int, progress: Callable[[float], None] | None) -> None:
    """Wait for the child; llama.cpp reports nothing, but its file grows."""
    while child.poll() is None:
        if progress is not None and part.exists():
            progress(min(0.99, part.stat().st_size / expected))
        time.sleep(_POLL_S)


def _check_result(child: subprocess.Popen[str], source: Path, kind: str) -> None:
    if child.returncode == 0:
        return
    lines = (child.stderr.read() if child.stderr else "").strip().splitlines()
    reason = lines[-1] if lines else f"{source.name} could not be converted to {kind}"
    if child.returncode < 0:
        reason = f"converting {source.name} to {kind} ended by {signal.Signals(-child.returncode).name}"
    raise ModelError(reason.rstrip(".") + ".", hint="Use the file as it is, or another format.")
