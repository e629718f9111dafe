"""What this machine has: cores, memory, GPUs. Everything is optional: what cannot be found out is None or empty."""

from __future__ import annotations

import importlib
import math
import os
import platform
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import psutil

_CGROUP = Path("/sys/fs/cgroup")
_UNLIMITED = 1 << 60
"""cgroup v1 writes "no limit" as a number near 2**63."""

__all__ = [
    "GPU",
    "Hardware",
    "detect",
]


@dataclass(frozen=True, slots=True)
class GPU:
    """One GPU. Memory in bytes, None where it is unknown."""

    name: str
    total_memory: int | None
    free_memory: int | None
    backend: str = ""
    """The driver or llama.cpp backend that reported it, such as "CUDA", "Metal" or "Vulkan"."""


@dataclass(frozen=True, slots=True)
class Hardware:
    """The machine as this process may use it. Memory in bytes."""

    cpu: str
    physical_cores: int
    logical_cores: int
    affinity_cores: int
    """Logical cores this process may run on."""
    cpu_quota: float | None
    """Cores' worth of time a container may use, None without a limit."""
    total_memory: int
    available_memory: int
    gpus: tuple[GPU, ...] = ()
    can_offload: bool = False
    """Whether the llama.cpp build in use can run layers on a GPU at all."""
    devices: tuple[str, ...] = ()
    """What llama.cpp calls its devices, the CPU included; empty where it was not asked."""
    measured_threads: int | None = None
    """The fastest of `thread_counts`, where that was measured (see `exsa_lab.models.threads`)."""

    @property
    def usable_threads(self) -> int:
        """Threads worth using: one for each physical core this process may use, within the container's quota.

        Two threads on one core share its vector units, so hyper-threads seldom help matrix products.
        """
        cores = max(1, self.affinity_cores * self.physical_cores // max(1, self.logical_cores))
        if self.cpu_quota is not None:
            cores = min(cores, max(1, round(self.cpu_quota)))
        return cores

    @property
    def thread_counts(self) -> tuple[int, ...]:
        """Numbers of threads between which only a measurement can choose, the likeliest first.

        One number where nothing is in doubt. Hyper-threads are in doubt (as many threads as logical cores may still be
        faster, and a container's cores may be siblings of each other), and so is a container's quota below its cores
        (the system stops all threads together when it is used up, which fewer threads may avoid).
        """
        likely, most = self.usable_threads, self.affinity_cores
        counts = [likely]
        if self.cpu_quota is not None and self.cpu_quota < most:
            most = min(most, max(1, math.ceil(self.cpu_quota)))
            counts += [most, max(1, likely // 2)]
        if self.physical_cores < self.logical_cores:
            counts.append(most)
        return tuple(dict.fromkeys(counts))


class LlamaDevice(Protocol):
    """A device as `exsa_lab.runtime.library.devices` lists it."""

    # Properties, because a frozen dataclass has no attributes that could be set.
    @property
    def name(self) -> str: ...
    @property
    def description(self) -> str: ...
    @property
    def kind(self) -> str: ...
    @property
    def free_memory(self) -> int: ...
    @property
    def total_memory(self) -> int: ...


def detect(devices: Callable[[], Sequence[LlamaDevice]] | None = None, *, can_offload: bool = False) -> Hardware:
    """Look at this machine; never fails.

    ``devices`` lists llama.cpp's devices and ``can_offload`` says what its build can do; both come from
    `exsa_lab.runtime.library`, and without them only NVIDIA GPUs are found, through their driver.

    Example: ``detect().usable_threads``.
    """
    logical = _positive(psutil.cpu_count, os.cpu_count() or 1)
    total, available = memory()
    listed = _listed(devices)
    return Hardware(
        cpu=_cpu_name(),
        physical_cores=min(_positive(lambda: psutil.cpu_count(logical=False), logical), logical),
        logical_cores=logical,
        affinity_cores=_positive(lambda: len(os.sched_getaffinity(0)), logical),
        cpu_quota=_cpu_quota(_CGROUP),
        total_memory=total,
        available_memory=available,
        gpus=_gpus(listed),
        can_offload=can_offload,
        devices=tuple(device.description for device in listed),
    )


def _positive(ask: Callable[[], int | None], otherwise: int) -> int:
    try:
        return ask() or otherwise
    except Exception:  # Missing on this system, or refused inside a container.
        return otherwise


def _cpu_name() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith(("model name", "Hardware")):
                return line.partition(":")[2].strip()
    except (OSError, ValueError):
        pass
    return platform.processor() or platform.machine() or "unknown"


# Containers


def _read(path: Path) -> str | None:
    try:
        return path.read_text().strip()
    except (OSError, ValueError):
        return None


def _number(path: Path) -> int | None:
    text = _read(path)
    try:
        value = int(text) if text is not None else None
    except ValueError:  # "max"
        return None
    return value if value is not None and 0 <= value < _UNLIMITED else None


def _folders(root: Path, controller: str, membership: str) -> list[Path]:
    """Folders of this process's cgroup, innermost first; limits may sit at any level."""
    inner = "/"
    for line in membership.splitlines():
        _, _, rest = line.partition(":")
        names, _, path = rest.partition(":")
        if controller in names.split(",") or (not names and not controller):
            inner = path
    base = root / controller if controller else root
    levels = [base]
    for part in Path(inner.lstrip("/")).parts:
        if part != "..":
            levels.append(levels[-1] / part)
    return levels[::-1]


def _membership() -> str:
    return _read(Path("/proc/self/cgroup")) or ""


def _cpu_quota(root: Path, membership: str | None = None) -> float | None:
    """Return the least CPU quota of cgroup v2 (cpu.max) and v1 (cpu.cfs_quota_us), in cores."""
    membership = _membership() if membership is None else membership
    quotas = []
    for folder in _folders(root, "", membership):
        words = (_read(folder / "cpu.max") or "").split()
        if len(words) == 2 and words[0].isdigit() and words[1].isdigit() and int(words[1]):
            quotas.append(int(words[0]) / int(words[1]))
    for folder in _folders(root, "cpu", membership):
        quota, period = _number(folder / "cpu.cfs_quota_us"), _number(folder / "cpu.cfs_period_us")
        if quota and period:
            quotas.append(quota / period)
    return min(quotas, default=None)


def memory(root: Path = _CGROUP, membership: str | None = None) -> tuple[int, int]:
    """Return total and available bytes: the machine's, or the container's where that is less."""
    try:
        machine = psutil.virtual_memory()
        total, available = int(machine.total), int(machine.available)
    except Exception:  # psutil on an exotic system.
        total, available = 0, 0
    for limit, used in _memory_limits(root, _membership() if membership is None else membership):
        total = min(total or limit, limit)
        available = min(available or limit, max(limit - used, 0))
    return total, available


def _memory_limits(root: Path, membership: str) -> list[tuple[int, int]]:
    """Pairs (limit, bytes in use that cannot be given back) of every cgroup level that has a limit."""
    found = []
    for controller, limit_file, used_file, cache_key in (
        ("", "memory.max", "memory.current", "inactive_file"),
        ("memory", "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
    ):
        for folder in _folders(root, controller, membership):
            limit = _number(folder / limit_file)
            if limit is not None:
                cache = _stat(folder / "memory.stat", cache_key)
                found.append((limit, max((_number(folder / used_file) or 0) - cache, 0)))
    return found


def _stat(path: Path, key: str) -> int:
    for line in (_read(path) or "").splitlines():
        name, _, value = line.partition(" ")
        if name == key and value.isdigit():
            return int(value)
    return 0


# GPUs


def _listed(devices: Callable[[], Sequence[LlamaDevice]] | None) -> list[LlamaDevice]:
    try:
        return list(devices()) if devices else []
    except Exception:  # A broken GPU driver must not stop CPU work.
        return []


def _gpus(listed: Sequence[LlamaDevice]) -> tuple[GPU, ...]:
    """llama.cpp's GPUs where it lists any: those are the ones that can be used. Otherwise the NVIDIA driver's."""
    return tuple(_from_llama(device) for device in listed if device.kind in ("gpu", "igpu")) or _nvidia_gpus()


def _from_llama(device: LlamaDevice) -> GPU:
    known = device.total_memory > 0
    return GPU(
        name=device.description or device.name,
        total_memory=device.total_memory if known else None,
        free_memory=device.free_memory if known else None,
        backend=device.name.rstrip("0123456789"),
    )


def _nvidia_gpus() -> tuple[GPU, ...]:
    try:
        nvml: Any = importlib.import_module("pynvml")
        nvml.nvmlInit()
    except Exception:  # Not installed, or no driver.
        return ()
    try:
        return tuple(_nvidia_gpu(nvml, index) for index in range(nvml.nvmlDeviceGetCount()))
    except Exception:  # The driver answers in part, as inside some containers.
        return ()
    finally:
        nvml.nvmlShutdown()


def _nvidia_gpu(nvml: Any, index: int) -> GPU:
    handle = nvml.nvmlDeviceGetHandleByIndex(index)
    name = nvml.nvmlDeviceGetName(handle)
    memory = nvml.nvmlDeviceGetMemoryInfo(handle)
    return GPU(name if isinstance(name, str) else name.decode(), int(memory.total), int(memory.free), "NVIDIA")
