"""Loading a file from an untrusted source in a child process first.

`exsa_lab.models.gguf_facts` refuses what is known to crash llama.cpp. What is not known yet can still end the
process that loads it; here that is a child, and the kernel lives on.
"""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

from exsa_lab.errors import InvalidModel, ModelLoadError
from exsa_lab.models.gguf_facts import read_facts
from exsa_lab.models.resolve import resolve


def try_load(model: str | Path, *, timeout: float = 300.0) -> Path:
    """Load the model and decode a few tokens in a child process; returns its path when that went well.

    Raises what `resolve` and `read_facts` raise, InvalidModel when llama.cpp crashed or took longer than ``timeout``
    seconds, ModelLoadError when it refused the file.

    Example: ``exsa_lab.load("from-somewhere.gguf", trial=True)``, which calls this.
    """
    path = resolve(model).path
    read_facts(path)
    command = [sys.executable, "-m", "exsa_lab.runtime.trial", str(path)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=timeout, check=False)
    except subprocess.TimeoutExpired as cause:
        raise InvalidModel(f"{path.name} did not load within {timeout:g} s.", hint="Do not use this file.") from cause
    if done.returncode == 0:
        return path
    if done.returncode < 0:
        name = signal.Signals(-done.returncode).name
        raise InvalidModel(f"loading {path.name} crashed llama.cpp ({name}).", hint="Do not use this file.")
    lines = done.stderr.strip().splitlines()
    raise ModelLoadError(lines[-1] if lines else f"{path.name} could not be loaded.")
