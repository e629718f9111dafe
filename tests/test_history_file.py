"""Generations are found again, whole or not at all, and a history that fails disturbs nobody."""

from __future__ import annotations

import os
import sqlite3
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from exsa_lab import history_file as module
from exsa_lab import loading
from exsa_lab.engine.engine import Engine
from exsa_lab.engine.worker import notifier
from exsa_lab.errors import ConfigError
from exsa_lab.history_file import history
from exsa_lab.testing import ScriptedModel, markov, scripted_engine

PIECES = [chr(ord("a") + i) for i in range(12)]


@pytest.fixture(autouse=True)
def _own_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    monkeypatch.delenv("EXSA_LAB_HISTORY", raising=False)
    monkeypatch.setattr(notifier, "CLOSE_S", 60.0)  # a disk may be slow: no test is about that


@pytest.fixture
def engine() -> Iterator[Engine]:
    engine = loading.use(scripted_engine(ScriptedModel(PIECES, markov(12, 1))))
    yield engine
    loading.unload()


def test_what_was_generated_is_found_again(engine: Engine) -> None:
    gens = [engine.generate(prompt, max_tokens=5, chat=False) for prompt in ("abc", "bcd")]
    engine.close()  # waits for what is still to be kept
    found = history()
    assert [entry.prompt for entry in found] == ["bcd", "abc"]
    assert found[0].text == gens[1].text
    assert found[0].trace() == gens[1].trace
    assert [entry.prompt for entry in history("ab")] == ["abc"]
    assert len(history("no_such%")) == 0
    assert len(history(limit=1)) == 1
    assert "abc" in repr(found)
    if os.name == "posix":
        assert stat.S_IMODE(module.path().stat().st_mode) == 0o600


def test_other_kernels_are_there_when_asked_for(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    engine.generate("abc", max_tokens=2, chat=False)
    engine.close()
    monkeypatch.setattr(module, "KERNEL", "another")
    assert len(history()) == 0
    assert [entry.own for entry in history(all_kernels=True)] == [0]


def test_it_can_be_turned_off(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EXSA_LAB_HISTORY", "0")
    engine.generate("abc", max_tokens=2, chat=False)
    engine.close()
    assert not module.path().exists()
    assert len(history()) == 0


def test_the_oldest_are_forgotten_when_it_grows_too_large(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EXSA_LAB_HISTORY_MB", "0.004")
    for _ in range(12):
        last = engine.generate("abc", max_tokens=9, chat=False)
    engine.close()
    assert 1 <= len(history()) < 12
    assert history()[0].trace() == last.trace


@pytest.mark.parametrize(("limit", "most"), [("0.2", 200_000), ("nan", 64_000_000), ("much", 64_000_000)])
def test_the_file_stays_within_its_bound(limit: str, most: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EXSA_LAB_HISTORY_MB", limit)
    for number in range(100):
        module._insert(module.Trace([], prompt=f"{number} " + "x" * 5_000), "finished")
    assert module.path().stat().st_size <= most + 20_000
    kept = [int(entry.prompt.split()[0]) for entry in history(limit=200)]
    assert kept == list(range(99, 99 - len(kept), -1))
    assert len(kept) >= min(100, most // 10_000)


@pytest.mark.parametrize("content", [b"no database at all" * 100, b"SQLite format 3\x00" + b"\xff" * 4000])
def test_a_damaged_file_disturbs_nobody_and_is_one_clear_error(engine: Engine, content: bytes) -> None:
    module.path().parent.mkdir(parents=True)
    module.path().write_bytes(content)
    assert engine.generate("abc", max_tokens=2, chat=False).state == "finished"
    engine.close()
    with pytest.raises(ConfigError, match="history cannot be read"):
        history()


def test_one_of_another_version_is_left_alone(engine: Engine) -> None:
    module.path().parent.mkdir(parents=True)
    with sqlite3.connect(module.path()) as database:
        database.execute("PRAGMA user_version = 99")
    database.close()
    engine.generate("abc", max_tokens=2, chat=False)
    engine.close()
    with pytest.raises(ConfigError, match="another exsa_lab"):
        history()


def test_half_a_character_and_control_characters_are_kept_and_shown_safely() -> None:
    trace = module.Trace([], prompt="half \ud800 \x1b[2J <b>")
    module._insert(trace, "finished")
    entry = history()[0]
    assert entry.trace() == trace
    assert str(entry).isprintable()
    assert "<b>" not in history()._repr_html_()


WRITER = """
import os, sys, threading, time
from exsa_lab import history_file as history
from exsa_lab.trace.trace import Trace
threading.Timer(float(sys.argv[1]), lambda: os._exit(9)).start()
while True:
    history._insert(Trace([], prompt="x" * 20_000), "finished")
"""


def test_a_writer_that_is_killed_leaves_a_sound_file() -> None:
    for after in ("0.05", "0.1", "0.2"):
        writers = [subprocess.Popen([sys.executable, "-c", WRITER, after]) for _ in range(2)]
        assert [writer.wait(60) for writer in writers] == [9, 9]
    with sqlite3.connect(module.path()) as database:
        assert database.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    database.close()
    for entry in history(all_kernels=True):
        assert entry.trace().prompt == "x" * 20_000
