"""llama.cpp's weight conversion. It cannot be stopped from inside, so `exsa_lab.models.conversion` runs it in a child:

python -m exsa_lab.runtime.quantize SOURCE DESTINATION FORMAT THREADS
"""

from __future__ import annotations

import ctypes
import os
import sys
import threading
from collections.abc import Sequence
from pathlib import Path

from exsa_lab.errors import ExsaError, ModelError
from exsa_lab.runtime.library import captured_log, llama, reason


def quantize(source: Path, destination: Path, file_type: str, n_threads: int) -> None:
    """Write ``source`` in another weight format, such as "Q8_0" or "Q4_K_M"; blocks until it is done.

    Weights that are quantized already are unpacked and packed again. Raises ModelError with llama.cpp's reason.
    """
    lib = llama()
    params = lib.llama_model_quantize_default_params()
    params.ftype = getattr(lib, f"LLAMA_FTYPE_MOSTLY_{file_type}")
    params.nthread = n_threads
    params.allow_requantize = True
    with captured_log() as lines:
        failed = lib.llama_model_quantize(os.fsencode(source), os.fsencode(destination), ctypes.byref(params))
    if failed:
        raise ModelError(f"llama.cpp could not convert {source.name} to {file_type}: {reason(lines)}.")


def main(arguments: Sequence[str]) -> int:
    """Convert in this process; the last line on stderr says what went wrong."""
    source, destination, file_type, n_threads = arguments
    threading.Thread(target=_end_with_parent, args=(Path(destination),), daemon=True).start()
    try:
        quantize(Path(source), Path(destination), file_type, int(n_threads))
    except ExsaError as error:
        print(error.message, file=sys.stderr)
        return 1
    return 0


def _end_with_parent(destination: Path) -> None:
    """Wait for the parent's end of the pipe to close, by its end or its wish, and give up then."""
    while os.read(0, 1024):  # Not sys.stdin: its lock, held at exit, would abort the interpreter.
        pass
    destination.unlink(missing_ok=True)
    os._exit(1)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
