"""Files are whole or not there, and nothing is believed because it lies at the right path."""

from __future__ import annotations

import json
import os
import stat
import threading
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exsa_lab import files
from exsa_lab.errors import ConfigError
from exsa_lab.files import read_json, write_json

SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text()
ANY_TEXT = st.text(st.characters(min_codepoint=0, max_codepoint=0x10FFFF))  # lone surrogates included


@given(st.recursive(SCALARS | ANY_TEXT, lambda inner: st.lists(inner) | st.dictionaries(ANY_TEXT, inner), max_leaves=9))
def test_what_was_written_is_read(data: Any) -> None:
    assert files.parse_json(files.to_json_bytes(data)) == data


@pytest.mark.parametrize(
    "text",
    ["", "{", "[1,]", "NaN", "[Infinity]", '{"a": 1, "a": 2}', "[" * 200_000, b"\xff", b"\xef\xbb\xbf{}", '{"a": 1} x'],
)
def test_anything_else_is_a_value_error(text: str | bytes) -> None:
    with pytest.raises(ValueError):  # noqa: PT011  # every kind of message
        files.parse_json(text if isinstance(text, bytes) else text.encode())


@pytest.mark.parametrize("data", [float("nan"), {"a": float("inf")}, {1, 2}, object()])
def test_what_cannot_be_written_leaves_the_old_file(tmp_path: Path, data: Any) -> None:
    path = tmp_path / "kept.json"
    files.write_json(path, {"old": True})
    with pytest.raises((ValueError, TypeError)):
        files.write_json(path, data)
    assert json.loads(path.read_text()) == {"old": True}
    assert [entry.name for entry in tmp_path.iterdir()] == ["kept.json"]


@pytest.mark.parametrize("where", ["fsync", "replace"])
@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()])
def test_a_failure_while_writing_leaves_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str, error: BaseException
) -> None:
    path = tmp_path / "kept.json"
    files.write_json(path, "old")

    def fail(*_: Any) -> None:
        raise error

    monkeypatch.setattr(os if where == "fsync" else Path, where, fail)
    with pytest.raises(type(error)):
        files.write_json(path, "new")
    monkeypatch.undo()
    assert files.read_json(path) == "old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["kept.json"]


@pytest.mark.skipif(os.name == "nt", reason="permissions of POSIX")
def test_links_stay_and_what_is_no_file_is_left_alone(tmp_path: Path) -> None:
    real, link, pipe = tmp_path / "real.json", tmp_path / "link.json", tmp_path / "pipe"
    real.write_text("old")
    link.symlink_to(real)
    assert write_json(link, [1]) == link
    assert link.is_symlink()
    assert read_json(real) == [1]
    os.mkfifo(pipe)
    for path in (pipe, tmp_path):
        with pytest.raises(OSError, match="no regular file"):
            write_json(path, [1])
    assert stat.S_ISFIFO(pipe.stat().st_mode)
    assert {path.name for path in tmp_path.iterdir()} == {"real.json", "link.json", "pipe"}


def test_permissions_are_those_of_the_old_file_or_of_the_user(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    before = os.umask(0o027)
    try:
        files.write_json(path, 1)
        assert stat.S_IMODE(path.stat().st_mode) == 0o640
        path.chmod(0o600)
        files.write_json(path, 2)
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    finally:
        os.umask(before)


def test_a_file_is_known_by_what_it_is(tmp_path: Path) -> None:
    path, other = tmp_path / "a", tmp_path / "b"
    path.write_bytes(b"one")
    first = files.FileIdentity.of(path)
    assert files.FileIdentity.of(path) == first
    status = path.stat()
    other.write_bytes(b"two")
    os.utime(other, ns=(status.st_atime_ns, status.st_mtime_ns))
    other.replace(path)
    assert files.FileIdentity.of(path) != first


def test_a_lock_is_held_by_one_thread_at_a_time(tmp_path: Path) -> None:
    inside, most = [0], [0]

    def work() -> None:
        with files.locked(tmp_path / "x"):
            inside[0] += 1
            most[0] = max(most[0], inside[0])
            threading.Event().wait(0.01)
            inside[0] -= 1

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == [1]


def test_a_user_without_a_home_gets_a_clear_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "home", unknown)
    for name in ("XDG_CACHE_HOME", "LOCALAPPDATA"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(ConfigError, match="XDG_CACHE_HOME"):
        files.cache_base()


def test_a_home_of_nobody_is_a_clear_error() -> None:
    with pytest.raises(ConfigError, match="whole path"):
        files.expand("~nobody-of-that-name/x.json")


def test_data_that_comes_with_the_package_is_read() -> None:
    assert set(files.read_data("exsa_lab.distill", "held_out.json")) == {"chat", "code", "story"}
