"""llama.cpp as a library: the one import of llama_cpp, its version, its log and its devices."""

from __future__ import annotations

import ctypes
import functools
import importlib
import importlib.metadata
import itertools
import os
import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from exsa_lab.errors import RuntimeUnavailable

TESTED = ((0, 3, 36), (0, 3, 37))
"""First tested version of llama-cpp-python and the first that is not: its low-level API moves between releases."""

_LOG_LINES = 400
_DEBUG_LEVEL, _ERROR_LEVEL = 1, 4


@dataclass(frozen=True, slots=True)
class LogLine:
    """One message of llama.cpp."""

    number: int
    is_error: bool
    text: str


_log: deque[LogLine] = deque(maxlen=_LOG_LINES)
"""The newest messages. Appended by llama.cpp's log callback, which may run on any of its threads."""
_line_numbers = itertools.count(1)
_keep_alive: list[Any] = []
"""Callbacks that C code holds for the life of the process."""
_load_lock = threading.Lock()


def llama() -> ModuleType:
    """Return the llama_cpp module, initialised once; raises RuntimeUnavailable with what to install."""
    with _load_lock:
        return _load()


@functools.cache
def _load() -> ModuleType:
    _check_version()
    _limit_spinning()
    try:
        module = importlib.import_module("llama_cpp.llama_cpp")
    except (ImportError, OSError, RuntimeError) as cause:
        raise RuntimeUnavailable(
            f"llama_cpp cannot be imported: {cause}.",
            hint="Reinstall it with `pip install --force-reinstall llama-cpp-python`.",
        ) from cause
    callback = module.llama_log_callback(_on_log)
    _keep_alive.append(callback)
    module.llama_log_set(callback, ctypes.c_void_p(0))
    module.llama_backend_init()
    return module


def _check_version() -> None:
    try:
        version = importlib.metadata.version("llama-cpp-python")
    except importlib.metadata.PackageNotFoundError:
        return  # Put on the path by hand; the import that follows decides.
    numbers = tuple(int(part) for part in version.split(".")[:3] if part.isdigit())
    if not TESTED[0] <= numbers < TESTED[1]:
        wanted = ">={}.{}.{},<{}.{}.{}".format(*TESTED[0], *TESTED[1])
        raise RuntimeUnavailable(
            f"llama-cpp-python {version} is outside the tested range {wanted}.",
            hint=f'Install a tested one with `pip install "llama-cpp-python{wanted}"`.',
        )


def _limit_spinning() -> None:
    """Let OpenMP threads that wait for each other spin for microseconds, not milliseconds, before they sleep.

    A graph has about a thousand barriers. Where another program holds one of the cores, a spinning thread keeps the
    one it waits for from running. Measured on two cores, milliseconds per step of the default target, alone / beside
    one busy process: default 8 / 16 but up to 2,000 beside several, sleeping at once 20 / 16, 1,000 turns 8 / 34,
    300 turns 8 / 21. "active" keeps libgomp from spinning still less once two threads have called it. Both must be
    set before libgomp is loaded; what the user has set is kept.
    """
    if not {"OMP_WAIT_POLICY", "GOMP_SPINCOUNT"} & os.environ.keys():
        os.environ.update(OMP_WAIT_POLICY="active", GOMP_SPINCOUNT="500")


def _on_log(level: int, text: bytes, _data: object) -> None:
    if level == _DEBUG_LEVEL:
        return  # Hundreds of lines for each context, which would push out what explains a failure.
    line = text.decode("utf-8", "replace").rstrip("\n")
    if line and line != ".":
        _log.append(LogLine(next(_line_numbers), level == _ERROR_LEVEL, line))


def log_lines() -> list[str]:
    """Return the newest lines of llama.cpp's log, oldest first."""
    return [line.text for line in list(_log)]


def log_mark() -> int:
    """Return the number of the newest line, for `lines_since`."""
    return _log[-1].number if _log else 0


def lines_since(mark: int) -> list[LogLine]:
    """Return the lines written after `log_mark` gave this number, oldest first."""
    return [line for line in list(_log) if line.number > mark]


@contextmanager
def captured_log() -> Iterator[list[LogLine]]:
    """Collect the log lines written inside the block, to explain a failure."""
    mark = log_mark()
    lines: list[LogLine] = []
    try:
        yield lines
    finally:
        lines.extend(lines_since(mark))


def reason(lines: list[LogLine]) -> str:
    """Return llama.cpp's own words for a failure: its first message of an error, else its last one."""
    failures = [line for line in lines if line.is_error] or lines[-1:]
    return " ".join(failures[0].text.split()).rstrip(".") if failures else "no reason given"


@dataclass(frozen=True, slots=True)
class Device:
    """One compute device llama.cpp can use. Memory in bytes, 0 where the backend does not tell."""

    name: str
    description: str
    kind: str
    """"cpu", "gpu", "igpu" or "accel"."""
    free_memory: int
    total_memory: int


@dataclass(frozen=True, slots=True)
class Build:
    """What this build of llama.cpp is."""

    version: str
    llama_cpp_version: str
    system_info: str
    can_offload: bool


def build() -> Build:
    """Describe the llama.cpp build in use."""
    lib = llama()
    try:
        version = importlib.metadata.version("llama-cpp-python")
    except importlib.metadata.PackageNotFoundError:
        version = "unknown"
    return Build(
        version=version,
        llama_cpp_version=_text(lib.llama_version()),
        system_info=_text(lib.llama_print_system_info()),
        can_offload=bool(lib.llama_supports_gpu_offload()),
    )


def _text(raw: object) -> str:
    return raw.decode("utf-8", "replace") if isinstance(raw, bytes) else str(raw)


_DEVICE_KINDS = ("cpu", "gpu", "igpu", "accel", "meta")


def devices() -> list[Device]:
    """List llama.cpp's devices. llama-cpp-python has no binding for these queries, so they are bound here."""
    try:
        base, registry = _ggml("ggml-base"), _ggml("ggml")
        registry.ggml_backend_dev_count.restype = ctypes.c_size_t
        return [_device(base, registry, index) for index in range(registry.ggml_backend_dev_count())]
    except (OSError, AttributeError):
        return []  # A build that hides these symbols: nothing to tell.


def _ggml(name: str) -> ctypes.CDLL:
    """Open one of the libraries beside llama.cpp's own, such as "ggml-base"; raises OSError where there is none."""
    folder = Path(llama()._lib._name).parent
    for path in sorted(folder.glob(f"*{name}.*")):
        if path.suffix in (".so", ".dylib", ".dll"):
            return ctypes.CDLL(str(path))
    raise OSError(f"no {name} library in {folder}")


def _device(base: ctypes.CDLL, registry: ctypes.CDLL, index: int) -> Device:
    registry.ggml_backend_dev_get.restype = ctypes.c_void_p
    device = ctypes.c_void_p(registry.ggml_backend_dev_get(ctypes.c_size_t(index)))
    base.ggml_backend_dev_name.restype = ctypes.c_char_p
    base.ggml_backend_dev_description.restype = ctypes.c_char_p
    free, total = ctypes.c_size_t(0), ctypes.c_size_t(0)
    base.ggml_backend_dev_memory(device, ctypes.byref(free), ctypes.byref(total))
    kind = base.ggml_backend_dev_type(device)
    return Device(
        name=_text(base.ggml_backend_dev_name(device)),
        description=_text(base.ggml_backend_dev_description(device)),
        kind=_DEVICE_KINDS[kind] if 0 <= kind < len(_DEVICE_KINDS) else "unknown",
        free_memory=free.value,
        total_memory=total.value,
    )
