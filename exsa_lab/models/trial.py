"""Loading a file from an untrusted source in a child process first.

`exsa_lab.models.gguf_facts` refuses what is known to crash llama.cpp. What is not known yet can still end the
process that loads it; here that is a child, and the kernel lives on.
"""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

from exsa_lab.errors import ConfigError, InvalidModel, ModelLoadError
from exsa_lab.models.gguf_facts import read_facts
from exsa_lab.models.resolve import resolve
from exsa_lab.prompts.pool import render_apart
from exsa_lab.prompts.template import TemplateTooCostly


def try_load(model: str | Path, *, timeout: float = 300.0) -> Path:
    """Load the model and decode a few tokens in a child process; returns its path when that went well.

    Raises what `resolve` and `read_facts` raise, InvalidModel when llama.cpp crashed or took longer than ``timeout``
    seconds or the chat template takes too much work, ModelLoadError when llama.cpp refused the file.

    Example: ``exsa_lab.load("from-somewhere.gguf", trial=True)``, which calls this.
    """
    path = resolve(model).path
    template = read_facts(path).chat_template
    command = [sys.executable, "-m", "exsa_lab.runtime.trial", str(path)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=timeout, check=False)
    except subprocess.TimeoutExpired as cause:
        raise InvalidModel(f"{path.name} did not load within {timeout:g} s.", hint="Do not use this file.") from cause
    if done.returncode == 0:
        _try_template(path, template)
        return path
    if done.returncode < 0:
        name = signal.Signals(-done.returncode).name
        raise InvalidModel(f"loading {path.name} crashed llama.cpp ({name}).", hint="Do not use this file.")
    lines = done.stderr.strip().splitlines()
    raise ModelLoadError(lines[-1] if lines else f"{path.name} could not be loaded.")


def _try_template(path: Path, source: str | None) -> None:
    """Render the chat template apart; one that is only out of the ordinary does no harm, and its model may be used."""
    values = {"messages": [{"role": "user", "content": "Hi"}], "add_generation_prompt": True}
    try:
        render_apart(source or "", values)
    except TemplateTooCostly as cause:
        raise InvalidModel(f"{path.name}: {cause.message}", hint="Do not use this file.") from cause
    except (ConfigError, InvalidModel):
        pass
