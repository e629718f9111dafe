"""Mutated headers end in an error or a working model, never in a crash of the process that loads them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
COUNT = int(os.environ.get("EXSA_LAB_FUZZ", "300"))


@pytest.mark.parametrize("seed", [1, 2])
def test_no_mutated_header_crashes_llama_cpp(tmp_path: Path, seed: int) -> None:
    command = [sys.executable, "-m", "tests.models.header_fuzz", str(tmp_path), str(seed), str(COUNT)]
    environment = {**os.environ, "GGML_NO_BACKTRACE": "1"}  # A backtrace is made by a debugger and takes seconds.
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    lines = done.stdout.strip().splitlines()
    assert done.returncode == 0, f"{lines[-1] if lines else ''}\n{done.stderr[-500:]}"
    outcomes = lines[-1]
    assert "refused" in outcomes
    assert "computed" in outcomes  # Otherwise the mutations would be too wild to test anything.
