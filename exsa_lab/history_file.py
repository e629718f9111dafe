"""What this user generated, kept in one SQLite file: found again after a kernel is gone, opened as traces.

Recording never disturbs anybody: it happens after a generation is over, away from the engine's thread, and what cannot
be kept is not kept. ``EXSA_LAB_HISTORY=0`` turns it off; ``EXSA_LAB_HISTORY_MB`` bounds the file (default 64).
"""

from __future__ import annotations

import contextlib
import math
import os
import sqlite3
import time
import uuid
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from html import escape
from pathlib import Path

from exsa_lab import files
from exsa_lab.config import whole
from exsa_lab.engine.generation import Generation
from exsa_lab.errors import ConfigError, printable
from exsa_lab.trace.trace import Trace

VERSION = 1
DEFAULT_MB = 64
MAX_TRACE_BYTES = 1 << 28
KERNEL = uuid.uuid4().hex
"""Names this process among those that share the file."""

_SCHEMA = """
CREATE TABLE IF NOT EXISTS generations (
    id INTEGER PRIMARY KEY, kernel TEXT NOT NULL, time REAL NOT NULL, state TEXT NOT NULL, model TEXT NOT NULL,
    prompt TEXT NOT NULL, text TEXT NOT NULL, tokens INTEGER NOT NULL, trace BLOB NOT NULL
)
"""


def is_on() -> bool:
    return os.environ.get("EXSA_LAB_HISTORY", "1").lower() not in ("0", "off", "false", "no")


def path() -> Path:
    """The file; it need not exist. Raises ConfigError where this user has no home."""
    if base := os.environ.get("XDG_DATA_HOME") or os.environ.get("LOCALAPPDATA"):
        return Path(base) / "exsa_lab" / "history.db"
    return files.home() / ".local" / "share" / "exsa_lab" / "history.db"


def record(generation: Generation) -> None:
    """Keep a generation that is over; whatever fails, nothing is raised."""
    if is_on():
        with contextlib.suppress(OSError, ValueError, sqlite3.Error):  # ConfigError is a ValueError
            _insert(generation.trace, str(generation.state))


def _insert(trace: Trace, state: str) -> None:
    blob = zlib.compress(files.to_json_bytes(trace.to_json()), 1)
    row = (KERNEL, time.time(), state, trace.models.get("target") or "", _text(trace.prompt), _text(trace.text))
    with _open(for_writing=True) as database:
        database.execute(
            "INSERT INTO generations (kernel, time, state, model, prompt, text, tokens, trace)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            (*row, len(trace.tokens), blob),
        )
        _shrink(database)


def _text(text: str) -> str:
    return text.encode("utf-8", "backslashreplace").decode()  # SQLite takes no half characters


def _shrink(database: sqlite3.Connection) -> None:
    """Forget the oldest, a tenth of all at a time, until the file is small enough; the newest one stays in any case."""
    most = _most_bytes()
    while _bytes_used(database) > most:
        count = database.execute("SELECT COUNT(*) FROM generations").fetchone()[0]
        if count <= 1:
            return
        database.execute(
            "DELETE FROM generations WHERE id IN (SELECT id FROM generations ORDER BY id LIMIT ?)",
            (min(max(1, count // 10), count - 1),),
        )


def _most_bytes() -> float:
    try:
        most = float(os.environ.get("EXSA_LAB_HISTORY_MB", DEFAULT_MB)) * 1e6
    except ValueError:
        most = math.nan
    return DEFAULT_MB * 1e6 if math.isnan(most) else most


def _bytes_used(database: sqlite3.Connection) -> int:
    pages, free, size = (
        int(database.execute(f"PRAGMA {name}").fetchone()[0]) for name in ("page_count", "freelist_count", "page_size")
    )
    return (pages - free) * size


@contextlib.contextmanager
def _open(*, for_writing: bool = False) -> Iterator[sqlite3.Connection]:
    """Open the file for one transaction, which is there whole or not at all, whatever happens meanwhile."""
    where = path()
    if for_writing:
        where.parent.mkdir(parents=True, exist_ok=True)
        os.close(os.open(where, os.O_CREAT | os.O_RDWR, 0o600))  # for nobody else's eyes
    database = sqlite3.connect(where, timeout=10)
    try:
        version = database.execute("PRAGMA user_version").fetchone()[0]
        if version not in (0, VERSION):
            raise ConfigError(f"{where} was written by another exsa_lab.", hint="Move it away.")
        if for_writing:
            database.execute(_SCHEMA)
            database.execute(f"PRAGMA user_version = {VERSION}")
        with database:
            yield database
    finally:
        database.close()


# Reading


@dataclass(frozen=True, slots=True)
class HistoryEntry:
    """One generation that was kept."""

    id: int
    time: float
    """Seconds since 1970, when it was over."""
    state: str
    model: str
    prompt: str
    text: str
    tokens: int
    own: int
    """1 where this kernel generated it, 0 where another one did."""

    def trace(self) -> Trace:
        """Return what happened in it; raises ConfigError where it is no longer there, or damaged."""
        with _as_config_error(), _open() as database:
            found = database.execute("SELECT trace FROM generations WHERE id = ?", (self.id,)).fetchone()
        if found is None:
            raise ConfigError(f"generation {self.id} is no longer kept.", hint="xl.history() lists those that are.")
        with _as_config_error():
            unpacker = zlib.decompressobj()
            return Trace.from_json(files.parse_json(unpacker.decompress(found[0], MAX_TRACE_BYTES)))

    def __str__(self) -> str:
        when = time.strftime("%Y-%m-%d %H:%M", time.localtime(self.time))
        prompt, text = (printable(" ".join(part.split()))[:60] for part in (self.prompt, self.text))
        return f"{self.id:>5}  {when}  {self.state:<9}  {self.tokens:>5}  {prompt}  ->  {text}"


@dataclass(frozen=True, slots=True)
class History:
    """Entries, newest first: a sequence, and a table where it is shown."""

    entries: list[HistoryEntry] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.entries)

    def __getitem__(self, index: int) -> HistoryEntry:
        return self.entries[index]

    def __iter__(self) -> Iterator[HistoryEntry]:
        return iter(self.entries)

    def __repr__(self) -> str:
        return "\n".join(map(str, self.entries)) or "Nothing was generated yet."

    def _repr_html_(self) -> str:
        return f"<pre>{escape(repr(self))}</pre>"


def history(search: str | None = None, *, limit: int = 50, all_kernels: bool = False) -> History:
    """Return what was generated, newest first: by this kernel, or by all of this user's.

    ``search`` keeps entries with this text in the prompt or in what was generated. Raises ConfigError where the file
    cannot be read.

    Example: ``xl.history("sky")[0].trace().to_pandas()``.
    """
    if search is not None and not isinstance(search, str):
        raise ConfigError("search is no text.", hint='Such as xl.history("sky").')
    limit = whole("limit", limit, 1, 1_000_000)
    pattern = "%" + (search or "").replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_") + "%"
    with _as_config_error():
        if not path().exists():
            return History()
    with _as_config_error(), _open() as database:
        rows = database.execute(
            "SELECT id, time, state, model, prompt, text, tokens, kernel = ? FROM generations"
            " WHERE (prompt LIKE ? ESCAPE '\\' OR text LIKE ? ESCAPE '\\') AND (? OR kernel = ?)"
            " ORDER BY id DESC LIMIT ?",
            (KERNEL, pattern, pattern, all_kernels, KERNEL, limit),
        ).fetchall()
        return History([HistoryEntry(*row) for row in rows])


@contextlib.contextmanager
def _as_config_error() -> Iterator[None]:
    try:
        yield
    except ConfigError:
        raise
    except (sqlite3.Error, OSError, ValueError, TypeError, zlib.error) as cause:
        raise ConfigError(f"the history cannot be read: {cause}.", hint=f"It is {path()}; move it away.") from cause
