"""Cores and memory as a container sees them; GPUs where there are any; never a crash."""

from __future__ import annotations

import sys
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest

from exsa_lab import hardware
from exsa_lab.hardware import GPU, Hardware, detect

GB = 1 << 30
PLAIN = Hardware("cpu", 8, 16, 16, None, 32 * GB, 16 * GB)


def test_this_machine() -> None:
    found = detect()
    assert 1 <= found.usable_threads <= found.logical_cores
    assert 0 < found.available_memory <= found.total_memory
    assert found.cpu


@pytest.mark.parametrize(
    ("change", "threads"),
    [
        ({}, 8),
        ({"affinity_cores": 4}, 2),
        ({"affinity_cores": 1}, 1),
        ({"cpu_quota": 2.0}, 2),
        ({"cpu_quota": 0.25}, 1),
        ({"cpu_quota": 100.0}, 8),
        ({"physical_cores": 16}, 16),
        ({"physical_cores": 2, "logical_cores": 2, "affinity_cores": 2}, 2),
    ],
)
def test_usable_threads(change: dict[str, float], threads: int) -> None:
    assert replace(PLAIN, **change).usable_threads == threads  # type: ignore[arg-type]


def files(root: Path, contents: dict[str, str]) -> Path:
    for name, text in contents.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text + "\n")
    return root


@pytest.mark.parametrize(
    ("contents", "membership", "quota"),
    [
        ({"cpu.max": "150000 100000"}, "0::/", 1.5),
        ({"cpu.max": "max 100000"}, "0::/", None),
        ({"cpu.max": "400000 100000", "a/b/cpu.max": "max 100000", "a/cpu.max": "50000 100000"}, "0::/a/b", 0.5),
        ({"cpu/cpu.cfs_quota_us": "200000", "cpu/cpu.cfs_period_us": "100000"}, "3:cpu,cpuacct:/", 2.0),
        ({"cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "100000"}, "3:cpu,cpuacct:/", None),
        ({"cpu/x/cpu.cfs_quota_us": "100000", "cpu/x/cpu.cfs_period_us": "100000"}, "3:cpu,cpuacct:/x", 1.0),
        ({"cpu.max": "nonsense"}, "garbage\n\n:::", None),
        ({"cpu.max": "1 0"}, "0::/../../..", None),
        ({}, "", None),
    ],
)
def test_cpu_quota(tmp_path: Path, contents: dict[str, str], membership: str, quota: float | None) -> None:
    assert hardware._cpu_quota(files(tmp_path, contents), membership) == quota


@pytest.mark.parametrize(
    ("contents", "membership", "total", "available"),
    [
        ({}, "0::/", 64 * GB, 32 * GB),
        ({"memory.max": "max", "memory.current": "5"}, "0::/", 64 * GB, 32 * GB),
        ({"memory.max": str(4 * GB), "memory.current": str(GB)}, "0::/", 4 * GB, 3 * GB),
        (
            {
                "memory.max": str(4 * GB),
                "memory.current": str(3 * GB),
                "memory.stat": f"anon 1\ninactive_file {2 * GB}",
            },
            "0::/",
            4 * GB,
            3 * GB,
        ),
        ({"pod/memory.max": str(2 * GB), "pod/memory.current": str(3 * GB)}, "0::/pod/leaf", 2 * GB, 0),
        (
            {"memory/memory.limit_in_bytes": str(2**63 - 4096), "memory/memory.usage_in_bytes": "1"},
            "4:memory:/",
            64 * GB,
            32 * GB,
        ),
        (
            {"memory/j/memory.limit_in_bytes": str(2 * GB), "memory/j/memory.usage_in_bytes": str(GB)},
            "4:memory:/j",
            2 * GB,
            GB,
        ),
    ],
)
def test_memory(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    contents: dict[str, str],
    membership: str,
    total: int,
    available: int,
) -> None:
    monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(total=64 * GB, available=32 * GB))
    assert hardware.memory(files(tmp_path, contents), membership) == (total, available)


@dataclass
class FakeDevice:
    name: str
    description: str
    kind: str
    free_memory: int = 0
    total_memory: int = 0


def test_llama_devices_name_gpus_even_without_their_memory() -> None:
    listed = [
        FakeDevice("CPU", "AMD EPYC", "cpu"),
        FakeDevice("Vulkan0", "Some GPU", "gpu"),
        FakeDevice("CUDA1", "H100", "gpu", 70 * GB, 80 * GB),
    ]
    found = detect(lambda: listed, can_offload=True)
    assert found.gpus == (GPU("Some GPU", None, None, "Vulkan"), GPU("H100", 80 * GB, 70 * GB, "CUDA"))
    assert found.can_offload
    assert found.devices == ("AMD EPYC", "Some GPU", "H100")


class FakeNvml:
    """Stands in for pynvml; a name in ``broken`` raises."""

    def __init__(self, broken: str = "") -> None:
        self.broken = broken
        self.open = 0

    def _check(self, name: str) -> None:
        if name == self.broken:
            raise RuntimeError("NVML: Driver Not Loaded")

    def nvmlInit(self) -> None:  # noqa: N802
        self._check("init")
        self.open += 1

    def nvmlShutdown(self) -> None:  # noqa: N802
        self.open -= 1

    def nvmlDeviceGetCount(self) -> int:  # noqa: N802
        self._check("count")
        return 1

    def nvmlDeviceGetHandleByIndex(self, index: int) -> int:  # noqa: N802
        return index

    def nvmlDeviceGetName(self, _handle: int) -> bytes:  # noqa: N802
        return b"NVIDIA T4"

    def nvmlDeviceGetMemoryInfo(self, _handle: int) -> SimpleNamespace:  # noqa: N802
        self._check("memory")
        return SimpleNamespace(total=16 * GB, free=15 * GB)


@pytest.mark.parametrize("broken", ["", "init", "count", "memory"])
def test_nvidia_driver(monkeypatch: pytest.MonkeyPatch, broken: str) -> None:
    nvml = FakeNvml(broken)
    monkeypatch.setitem(sys.modules, "pynvml", nvml)  # type: ignore[arg-type]
    expected = () if broken else (GPU("NVIDIA T4", 16 * GB, 15 * GB, "NVIDIA"),)
    assert detect().gpus == expected
    assert nvml.open == 0


def test_nothing_works_and_nothing_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_args: object, **_kwargs: object) -> None:
        raise OSError("no")

    monkeypatch.setattr(psutil, "cpu_count", broken)
    monkeypatch.setattr(psutil, "virtual_memory", broken)
    monkeypatch.setattr(Path, "read_text", broken)
    monkeypatch.setattr(hardware.os, "sched_getaffinity", broken, raising=False)
    monkeypatch.setitem(sys.modules, "pynvml", None)
    found = detect(broken)  # type: ignore[arg-type]
    assert found.usable_threads >= 1
    assert found.gpus == ()
    assert (found.total_memory, found.available_memory) == (0, 0)
