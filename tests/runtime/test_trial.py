"""The child process of a trial: its exit code, and the reason on its last line."""

from __future__ import annotations

from pathlib import Path

import pytest

from exsa_lab.models.resolve import resolve
from exsa_lab.runtime.trial import main
from tests.models.gguf_files import write


def test_a_good_file() -> None:
    assert main(resolve("smollm2-135m-draft").path) == 0


def test_a_file_that_llama_cpp_refuses(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert main(write(tmp_path / "m.gguf")) == 1
    assert "m.gguf" in capfd.readouterr().err.strip().splitlines()[-1]
