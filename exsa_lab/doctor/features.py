"""Whether a build of llama.cpp uses all that this CPU can do: a prebuilt one is made for many CPUs."""

from __future__ import annotations

import re
from pathlib import Path

CPUINFO = Path("/proc/cpuinfo")
FEATURES = {
    "AVX2": "avx2",
    "FMA": "fma",
    "F16C": "f16c",
    "BMI2": "bmi2",
    "AVX_VNNI": "avx_vnni",
    "AVX512": "avx512f",
    "AVX512_VBMI": "avx512vbmi",
    "AVX512_VNNI": "avx512_vnni",
    "AVX512_BF16": "avx512_bf16",
    "DOTPROD": "asimddp",
    "MATMUL_INT8": "i8mm",
    "FP16_VA": "asimdhp",
    "SVE": "sve",
}
"""Names in llama.cpp's system info, and in Linux's list of what a CPU can do."""


def used_features(system_info: str) -> list[str]:
    """Return the features a build was compiled with, from llama.cpp's system info ("CPU : AVX2 = 1 | ...")."""
    parts = (part.strip() for part in system_info.split("|"))
    return [part.split("=")[0].strip() for part in parts if part.endswith("= 1")]


def unused_features(system_info: str, cpuinfo: str) -> list[str]:
    """Return the features of this CPU that the build leaves unused, by llama.cpp's names."""
    listed = re.search(r"^(?:flags|Features)\s*:(.*)$", cpuinfo, re.MULTILINE)
    has = set(listed[1].split()) if listed else set()
    used = {name.removeprefix("CPU : ") for name in used_features(system_info)}
    return [name for name, flag in FEATURES.items() if flag in has and name not in used]


def read_cpuinfo() -> str:
    """Return Linux's description of the CPU; empty on other systems."""
    return CPUINFO.read_text(encoding="utf-8", errors="replace") if CPUINFO.exists() else ""
