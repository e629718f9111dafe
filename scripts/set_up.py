"""Fill the virtual environment that runs this script. Standard library only.

``.venv/bin/python scripts/set_up.py --extras demo,lab`` installs exsa_lab from this clone with these extras, and the
wheel of llama-cpp-python that `llama_wheel.py` finds or makes. The Makefile calls it.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import llama_wheel

ROOT = llama_wheel.ROOT


def main(argv: list[str] | None = None) -> int:
    args = _parser().parse_args(argv)
    watch = Stopwatch(args.started)
    watch.parts.append(("virtual environment", time.time() - watch.started))
    try:
        with watch.part("uv"):
            bring_uv()
        # The network's part while the compiler has the cores.
        with ThreadPoolExecutor(1) as beside:
            llama_wheel.say("Installing the other packages.")
            others = beside.submit(install, *llama_wheel.other_requirements(args.extras))
            with watch.part("llama.cpp"):
                wheel = llama_wheel.wheel(args.wheels)
            with watch.part("other packages"):
                others.result()
        with watch.part("exsa_lab"):
            install("--force-reinstall", "--no-deps", str(wheel))
            install("--editable", f"{ROOT}[{args.extras}]" if args.extras else str(ROOT))
        if not imports():
            # The wheel was kept from before a system library or a toolkit moved: once more, from the start.
            with watch.part("llama.cpp again"):
                wheel.unlink()
                install("--force-reinstall", "--no-deps", str(llama_wheel.wheel(args.wheels)))
    except llama_wheel.WheelError as error:
        print(error, file=sys.stderr)
        return 1
    except subprocess.CalledProcessError as error:
        return error.returncode
    if args.times:
        print(watch.report())
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description="Install exsa_lab from this clone into this Python's environment.")
    parser.add_argument("--extras", default="", help="extras of pyproject.toml, separated by commas")
    parser.add_argument("--wheels", metavar="URL", help="an index, or a folder, with a prebuilt llama-cpp-python")
    parser.add_argument("--times", action="store_true", help="print how long each part took")
    parser.add_argument("--started", type=float, default=time.time(), help="when setting up began, in seconds (Unix)")
    return parser


class Stopwatch:
    """How long each part took, in seconds, from a moment that may lie before this process."""

    def __init__(self, started: float) -> None:
        self.started = started
        self.parts: list[tuple[str, float]] = []

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        began = time.time()
        yield
        self.parts.append((name, time.time() - began))

    def report(self) -> str:
        rows = [*self.parts, ("all of it", time.time() - self.started)]
        return "\n".join(f"{name:<20}{seconds:7.1f} s" for name, seconds in rows)


def find_uv() -> str | None:
    """Return the path of uv: the user's, or the one beside this Python."""
    return shutil.which("uv") or shutil.which("uv", path=str(Path(sys.executable).parent))


def bring_uv() -> None:
    """Have uv, which installs in seconds what takes pip more than a minute. It can be done without."""
    if find_uv() is None:
        subprocess.run(pip(sys.executable, "uv"), stderr=subprocess.DEVNULL, check=False)


def install(*arguments: str, python: str = sys.executable) -> None:
    """Install with uv where it is there, else with pip; raises CalledProcessError where neither can."""
    if uv := find_uv():
        command = [uv, "pip", "install", "--quiet", "--python", python, *arguments]
        if subprocess.run(command, check=False).returncode == 0:
            return
        llama_wheel.say("uv could not (above is why); pip, which may know other indexes, tries.")
    subprocess.run(pip(python, *arguments), check=True)


def pip(python: str, *arguments: str) -> list[str]:
    """Return the command by which that Python's pip installs."""
    return [python, "-m", "pip", "--disable-pip-version-check", "install", "--quiet", *arguments]


def imports() -> bool:
    """Tell whether the installed llama.cpp can be loaded."""
    command = [sys.executable, "-c", "import llama_cpp"]
    return subprocess.run(command, stderr=subprocess.DEVNULL, check=False).returncode == 0


if __name__ == "__main__":
    sys.exit(main())
