"""What the doctor says of machine and build."""

from __future__ import annotations

import pytest

from exsa_lab.doctor import machine
from exsa_lab.hardware import GPU
from exsa_lab.runtime import library
from tests.doctor.parts import hardware


@pytest.mark.parametrize(
    ("gpus", "backend"),
    [
        ((), None),
        ((GPU("Tesla T4", 1, 1, "NVIDIA"),), "CUDA"),
        ((GPU("AMD Radeon RX 7900", None, None, ""),), "ROCm"),
        ((GPU("Intel Arc A770", None, None, "Vulkan"),), "Vulkan"),
    ],
)
def test_the_likely_backend(gpus: tuple[GPU, ...], backend: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine.sys, "platform", "linux")
    assert machine.likely_backend(hardware(*gpus)) == backend


def test_the_build_command_asks_for_the_tested_versions() -> None:
    command = machine.build_command("CUDA")
    assert "-DGGML_CUDA=on" in command
    assert "--no-binary llama-cpp-python" in command
    low, high = (".".join(map(str, version)) for version in library.TESTED)
    assert f'"llama-cpp-python>={low},<{high}"' in command
