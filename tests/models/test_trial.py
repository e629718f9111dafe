"""A file that crashes llama.cpp ends a child process, not this one."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from exsa_lab import loading
from exsa_lab.errors import ExsaError, InvalidModel, ModelLoadError
from exsa_lab.models.trial import try_load
from tests.models.gguf_files import write
from tests.prompts.vocabularies import write_model

CRASH = "import os; os.abort()"


def test_a_good_file_passes() -> None:
    assert try_load("smollm2-135m-draft").name == "smollm2-135m-draft-23m-iq4_nl.gguf"


def test_a_hostile_chat_template_is_found(tmp_path: Path) -> None:
    hostile = write_model(tmp_path / "m.gguf", tokenizer__chat_template="{{ 'a' * 10**10 }}")
    with pytest.raises(InvalidModel, match=r"m\.gguf: the chat template takes too much work"):
        try_load(hostile)
    odd = write_model(tmp_path / "n.gguf", tokenizer__chat_template="{% include 'x' %}")
    assert try_load(odd) == odd


def test_a_file_llama_cpp_refuses(tmp_path: Path) -> None:
    with pytest.raises(ModelLoadError, match=r"could not load m\.gguf"):
        try_load(write(tmp_path / "m.gguf"))


def test_a_damaged_file_starts_no_child(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subprocess, "run", None)
    path = tmp_path / "m.gguf"
    path.write_bytes(b"GGUF")
    with pytest.raises(InvalidModel):
        try_load(path)


@pytest.mark.parametrize(
    ("code", "timeout", "message"),
    [
        (CRASH, 60, r"crashed llama\.cpp \(SIGABRT\)"),
        ("import time; time.sleep(60)", 2, "did not load within"),
    ],
)
def test_a_crash_or_a_hang_is_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: str, timeout: float, message: str
) -> None:
    real = subprocess.run
    monkeypatch.setattr(subprocess, "run", lambda _command, **options: real([sys.executable, "-c", code], **options))
    with pytest.raises(InvalidModel, match=message):
        try_load(write(tmp_path / "m.gguf"), timeout=timeout)


def crash(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let every child process of `try_load` crash."""
    real = subprocess.run
    monkeypatch.setattr(subprocess, "run", lambda _command, **options: real([sys.executable, "-c", CRASH], **options))


def test_loading_on_trial_refuses_what_crashes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    crash(monkeypatch)
    path = write(tmp_path / "m.gguf")
    monkeypatch.setattr(loading, "convert", None)  # Converting would load it into this process.
    for weights in (None, "q8_0"):
        with pytest.raises(InvalidModel, match="crashed"):
            loading.load(path, None, weights=weights, trial=True)
    with pytest.raises(ExsaError, match="no engine is loaded"):
        loading.get_engine()


def test_loading_tries_both_files_first(monkeypatch: pytest.MonkeyPatch) -> None:
    tried: list[str] = []
    monkeypatch.setattr(loading, "try_load", lambda path: tried.append(path.name))
    draft = "smollm2-135m-draft"
    loading.find_files(draft, draft)
    assert tried == []
    loading.find_files(draft, draft, trial=True)
    assert tried == ["smollm2-135m-draft-23m-iq4_nl.gguf"] * 2
