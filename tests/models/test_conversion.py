"""Conversions are whole or not there, and stop when they are told to."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from exsa_lab.errors import ConfigError, ExsaError, InvalidModel, ModelError, ModelNotFound
from exsa_lab.models import conversion
from exsa_lab.models.conversion import checksum_path, convert, converted_path, expected_bytes
from exsa_lab.models.gguf_facts import read_facts
from exsa_lab.models.resolve import resolve
from tests.gate import until
from tests.models.gguf_files import write

DRAFT = "smollm2-135m-draft"  # Bundled, and small enough to convert in a moment.


def names(folder: Path) -> list[str]:
    """What is in a folder, but for locks."""
    return sorted(path.name for path in folder.iterdir() if not path.name.startswith("."))


def test_a_conversion_is_made_once(tmp_path: Path) -> None:
    seen: list[float] = []
    made = convert(DRAFT, "q4_1", folder=tmp_path, progress=seen.append)
    assert read_facts(made).quantisation == "Q4_1"
    assert seen[-1] == 1.0
    assert seen == sorted(seen)
    assert names(tmp_path) == [made.name, checksum_path(made).name]
    before = made.stat().st_mtime_ns
    assert convert(DRAFT, "Q4_1", folder=tmp_path) == made
    assert made.stat().st_mtime_ns == before


def test_a_file_in_that_format_is_returned_as_it_is(tmp_path: Path) -> None:
    assert convert(DRAFT, "q8_0", folder=tmp_path) == resolve(DRAFT).path
    assert not names(tmp_path)


def test_the_size_is_foreseen(tmp_path: Path) -> None:
    source = read_facts(resolve(DRAFT).path)
    assert convert(DRAFT, "f16", folder=tmp_path).stat().st_size == pytest.approx(
        expected_bytes(source, "f16"), rel=0.02
    )


def test_a_damaged_conversion_is_made_again(tmp_path: Path) -> None:
    made = convert(DRAFT, "q4_1", folder=tmp_path)
    whole = made.read_bytes()
    made.write_bytes(whole[:-1000])
    assert convert(DRAFT, "q4_1", folder=tmp_path) == made
    assert made.read_bytes() == whole


def test_a_byte_that_turned_over_is_noticed(tmp_path: Path) -> None:
    made = convert(DRAFT, "q4_1", folder=tmp_path)
    whole = made.read_bytes()
    made.write_bytes(whole[:-1000] + b"\x55" + whole[-999:])
    assert convert(DRAFT, "q4_1", folder=tmp_path) == made
    assert made.read_bytes() == whole


def test_a_conversion_without_its_checksum_is_not_believed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, converting: list[Path]
) -> None:
    made = convert(DRAFT, "q4_1", folder=tmp_path)
    checksum_path(made).unlink()
    monkeypatch.setattr(conversion, "_verified", set())
    assert convert(DRAFT, "q4_1", folder=tmp_path) == made
    assert len(converting) == 2
    assert convert(DRAFT, "q4_1", folder=tmp_path) == made
    assert len(converting) == 2


@pytest.fixture
def converting(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Collects what is really converted."""
    begun: list[Path] = []
    real = conversion._convert

    def noted(source: Path, *rest: Any) -> None:
        begun.append(source)
        real(source, *rest)

    monkeypatch.setattr(conversion, "_convert", noted)
    return begun


def test_the_same_conversion_from_many_threads_is_made_once(tmp_path: Path, converting: list[Path]) -> None:
    with ThreadPoolExecutor(4) as pool:
        made = list(pool.map(lambda _: convert(DRAFT, "q4_1", folder=tmp_path), range(4)))
    assert len(set(made)) == 1
    assert len(converting) == 1


def test_partial_files_that_nobody_writes_go_after_a_day(tmp_path: Path) -> None:
    old, new = tmp_path / "old.1.part", tmp_path / "new.2.part"
    for part in (old, new):
        part.write_bytes(b"x")
    os.utime(old, (time.time() - 100_000,) * 2)
    convert(DRAFT, "q4_1", folder=tmp_path)
    assert not old.exists()
    assert new.exists()


def test_a_folder_that_cannot_be_written_is_one_clear_error(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_bytes(b"")
    with pytest.raises(ExsaError, match="cannot be"):
        convert(DRAFT, "q4_1", folder=file / "below")


def test_an_unknown_format_gets_a_suggestion(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="Did you mean 'q8_0'"):
        convert(DRAFT, "q8-0", folder=tmp_path)
    with pytest.raises(ModelNotFound):
        convert(tmp_path / "absent.gguf", folder=tmp_path)


def test_a_full_disk_is_seen_before_the_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _path: SimpleNamespace(free=1_000_000))
    with pytest.raises(ModelError, match="has 1 MB free"):
        convert(DRAFT, "f16", folder=tmp_path)


def test_what_llama_cpp_cannot_convert_says_why(tmp_path: Path) -> None:
    source = write(tmp_path / "odd.gguf", general__architecture="nonsense", **{
        f"nonsense__{key}": 32 for key in ("block_count", "context_length", "embedding_length")
    })  # fmt: skip
    with pytest.raises(ModelError, match=r"could not convert odd\.gguf to Q4_0"):
        convert(source, "q4_0", folder=tmp_path)
    assert names(tmp_path) == ["odd.gguf"]


def test_a_child_that_dies_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = subprocess.Popen

    def killed(command: list[str], **options: object) -> subprocess.Popen[str]:
        return real([sys.executable, "-c", "import os; os.kill(os.getpid(), 11)"], **options)  # type: ignore[call-overload,no-any-return]

    monkeypatch.setattr(conversion.subprocess, "Popen", killed)
    with pytest.raises(ModelError, match="ended by SIGSEGV"):
        convert(DRAFT, "q4_1", folder=tmp_path)
    assert not names(tmp_path)


def test_an_output_that_is_not_whole_is_not_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = subprocess.Popen

    def half(command: list[str], **options: object) -> subprocess.Popen[str]:
        code = "import sys; open(sys.argv[1], 'wb').write(b'GGUF' + bytes(8))"
        return real([sys.executable, "-c", code, command[4]], **options)  # type: ignore[call-overload,no-any-return]

    monkeypatch.setattr(conversion.subprocess, "Popen", half)
    with pytest.raises(InvalidModel):
        convert(DRAFT, "q4_1", folder=tmp_path)
    assert not names(tmp_path)


def test_an_interrupt_stops_the_child_and_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    children: list[subprocess.Popen[str]] = []
    real = subprocess.Popen

    def endless(command: list[str], **options: object) -> subprocess.Popen[str]:
        code = "import sys, time; open(sys.argv[1], 'wb').write(b'GGUF'); time.sleep(600)"
        children.append(real([sys.executable, "-c", code, command[4]], **options))  # type: ignore[call-overload]
        return children[-1]

    monkeypatch.setattr(conversion.subprocess, "Popen", endless)

    def interrupt_when_running() -> None:
        until(lambda: names(tmp_path))  # it writes
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=interrupt_when_running, daemon=True).start()
    with pytest.raises(KeyboardInterrupt):
        convert(DRAFT, "f16", folder=tmp_path)
    assert children[0].poll() is not None
    assert not names(tmp_path)


def test_a_child_ends_with_its_parent(tmp_path: Path) -> None:
    destination = tmp_path / "out.part"
    command = [sys.executable, "-m", "exsa_lab.runtime.quantize", "absent.gguf", str(destination), "Q8_0", "1"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stderr=subprocess.DEVNULL) as child:
        assert child.stdin is not None
        child.stdin.close()  # As the end of the parent would.
        assert child.wait(timeout=60) == 1
    assert not destination.exists()


def test_a_changed_source_is_another_conversion(tmp_path: Path) -> None:
    source = write(tmp_path / "m.gguf")
    first = converted_path(source, "q8_0", tmp_path)
    write(source, general__name="changed")
    assert converted_path(source, "q8_0", tmp_path) != first
