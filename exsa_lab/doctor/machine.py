"""Sections about the machine and about the build of llama.cpp."""

from __future__ import annotations

import contextlib
import os
import platform
import sys

from exsa_lab import __version__
from exsa_lab.doctor.features import read_cpuinfo, unused_features, used_features
from exsa_lab.doctor.units import size
from exsa_lab.engine.engine import Engine
from exsa_lab.hardware import GPU, Hardware, detect
from exsa_lab.loading import machine
from exsa_lab.runtime.library import TESTED, build
from exsa_lab.widgets.panel import Section

BACKENDS = {
    "CUDA": ("GGML_CUDA", "an NVIDIA GPU (needs the CUDA toolkit with nvcc)"),
    "Metal": ("GGML_METAL", "the GPU of Apple silicon"),
    "ROCm": ("GGML_HIP", "an AMD GPU (needs ROCm)"),
    "Vulkan": ("GGML_VULKAN", "this GPU (needs the Vulkan SDK)"),
}
"""llama.cpp's GPU backends: the build option, and what it is for."""


def machine_section(_engine: Engine | None = None) -> Section:
    """CPU, memory, GPUs."""
    found = detect()  # without llama.cpp first: the machine is known even where llama.cpp is not
    with contextlib.suppress(Exception):
        found = machine()
    cores = f"{found.physical_cores} physical, {found.logical_cores} logical; {found.usable_threads} usable"
    if found.cpu_quota is not None:
        cores += f" (the container allows {found.cpu_quota:g})"
    rows = [
        ("CPU", found.cpu),
        ("cores", cores),
        ("memory", f"{size(found.total_memory)}, {size(found.available_memory)} free"),
        *(("GPU", describe_gpu(gpu)) for gpu in found.gpus),
    ]
    if not found.gpus:
        rows.append(("GPU", "none found"))
    rows.append(("system", f"{platform.system()} {platform.release()}, Python {platform.python_version()}"))
    return Section("Machine", tuple(rows))


def describe_gpu(gpu: GPU) -> str:
    memory = f"{size(gpu.total_memory)}, {size(gpu.free_memory)} free" if gpu.total_memory else "memory unknown"
    return f"{gpu.name} ({gpu.backend}), {memory}"


def build_section(_engine: Engine | None = None) -> Section:
    """Versions, what the build can do, and how to get one that uses the GPU."""
    made = build()
    rows = [
        ("exsa_lab", __version__),
        ("llama-cpp-python", f"{made.version} (llama.cpp {made.llama_cpp_version})"),
        ("features", ", ".join(used_features(made.system_info)).replace("CPU : ", "CPU: ")),
        ("GPU offload", "this build can" if made.can_offload else "this build cannot"),
    ]
    if unused := unused_features(made.system_info, read_cpuinfo()):
        rows.append(
            (
                "generic build",
                f"made for many CPUs; this one also has {', '.join(unused)}. A build for it reads"
                " prompts faster: in a clone, `make clean lab` without WHEELS",
            )
        )
    if made.can_offload:
        return Section("Build", tuple(rows))
    # Where no GPU was seen: the kind this system could have.
    backend = likely_backend(machine()) or ("Metal" if sys.platform == "darwin" else "CUDA")
    rows.append((f"to use {backend}", f"run this, for {BACKENDS[backend][1]}:"))
    return Section("Build", tuple(rows), lines=(build_command(backend),))


def likely_backend(found: Hardware) -> str | None:
    """Name the backend this machine's GPU needs, None where no GPU was seen."""
    if sys.platform == "darwin" and platform.machine() == "arm64":
        return "Metal"
    names = " ".join(f"{gpu.name} {gpu.backend}".upper() for gpu in found.gpus)
    if not names:
        return None
    if "NVIDIA" in names or "CUDA" in names:
        return "CUDA"
    return "ROCm" if "AMD" in names or "RADEON" in names else "Vulkan"


def build_command(backend: str) -> str:
    """Return the command that builds the tested llama-cpp-python with this backend.

    Example: ``build_command("CUDA")``.
    """
    wanted = "llama-cpp-python>={}.{}.{},<{}.{}.{}".format(*TESTED[0], *TESTED[1])
    option = f"-D{BACKENDS[backend][0]}=on"
    python = os.path.basename(sys.executable) or "python"
    setting = f'$env:CMAKE_ARGS="{option}";' if os.name == "nt" else f'CMAKE_ARGS="{option}"'
    return f'{setting} {python} -m pip install --force-reinstall --no-cache-dir --no-binary llama-cpp-python "{wanted}"'
