"""The target in other weight formats, converted once and kept in the cache folder."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from exsa_lab.config import did_you_mean
from exsa_lab.errors import ConfigError, ModelError
from exsa_lab.runtime.library import captured_log, llama

AS_SHIPPED = "as-shipped"
FORMATS = {
    "F16": "LLAMA_FTYPE_MOSTLY_F16",
    "Q8_0": "LLAMA_FTYPE_MOSTLY_Q8_0",
    "Q5_0": "LLAMA_FTYPE_MOSTLY_Q5_0",
    "Q4_0": "LLAMA_FTYPE_MOSTLY_Q4_0",
    "Q4_1": "LLAMA_FTYPE_MOSTLY_Q4_1",
    "IQ4_NL": "LLAMA_FTYPE_MOSTLY_IQ4_NL",
}


def cache_folder() -> Path:
    """Return the folder for files that can be made again."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "exsa_lab"


def converted(path: Path, name: str) -> Path:
    """Return ``path`` converted to a weight format; seconds the first time, at once after that.

    Requantizing an already quantized file loses some quality: fine for measuring speed.
    """
    name = name.upper()
    if name not in FORMATS:
        raise ConfigError(f"unknown weight format {name!r}.", hint=did_you_mean(name, FORMATS) or ", ".join(FORMATS))
    status = path.stat()
    wanted = cache_folder() / "converted" / f"{path.stem}-{status.st_size:x}-{status.st_mtime_ns:x}.{name}.gguf"
    if not wanted.exists():
        wanted.parent.mkdir(parents=True, exist_ok=True)
        _convert(path, wanted, FORMATS[name])
    return wanted


def _convert(source: Path, wanted: Path, ftype: str) -> None:
    lib = llama()
    params = lib.llama_model_quantize_default_params()
    params.ftype = getattr(lib, ftype)
    params.allow_requantize = True
    with tempfile.TemporaryDirectory(dir=wanted.parent) as folder:
        part = Path(folder) / wanted.name
        with captured_log() as lines:
            code = lib.llama_model_quantize(str(source).encode(), str(part).encode(), params)
        if code:
            raise ModelError(
                f"llama.cpp could not convert {source.name} ({lines[-1] if lines else 'no reason given'}).",
                hint="Measure the file as it is.",
            )
        # Another process may have made it meanwhile: either file is good.
        part.replace(wanted)
