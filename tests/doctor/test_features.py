"""A build for many CPUs is told from one for this CPU."""

from __future__ import annotations

from dataclasses import replace

import pytest

from exsa_lab.doctor import machine
from exsa_lab.doctor.features import unused_features, used_features
from exsa_lab.runtime.library import Build

GENERIC = "CPU : SSE3 = 1 | AVX = 1 | AVX2 = 1 | F16C = 1 | FMA = 1 | BMI2 = 1 | AVX512 = 0 | OPENMP = 1 | "
CPUINFO = "model name\t: A CPU\nflags\t\t: fpu avx avx2 fma f16c bmi2 avx512f avx512_vnni amx_int8\nbugs\t\t: none\n"


def test_features_of_the_build() -> None:
    assert used_features(GENERIC) == ["CPU : SSE3", "AVX", "AVX2", "F16C", "FMA", "BMI2", "OPENMP"]


def test_what_a_generic_build_leaves_unused() -> None:
    assert unused_features(GENERIC, CPUINFO) == ["AVX512", "AVX512_VNNI"]
    native = GENERIC.replace("AVX512 = 0", "AVX512 = 1 | AVX512_VNNI = 1")
    assert unused_features(native, CPUINFO) == []
    assert unused_features("CPU : NEON = 1 | ", "Features\t: fp asimd asimddp i8mm\n") == ["DOTPROD", "MATMUL_INT8"]
    assert unused_features("CPU : AVX2 = 1 | FMA = 1 | ", CPUINFO)[0] == "F16C"
    assert unused_features(GENERIC, "") == []


def test_the_doctor_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    made = Build("0.3.36", "b1", GENERIC, can_offload=False)
    monkeypatch.setattr(machine, "build", lambda: made)
    monkeypatch.setattr(machine, "read_cpuinfo", lambda: CPUINFO)
    rows = {row[0]: row[1] for row in machine.build_section().rows}
    assert "AVX512, AVX512_VNNI." in rows["generic build"]
    native = replace(made, system_info=GENERIC.replace("AVX512 = 0", "AVX512 = 1 | AVX512_VNNI = 1"))
    monkeypatch.setattr(machine, "build", lambda: native)
    assert "generic build" not in [row[0] for row in machine.build_section().rows]
