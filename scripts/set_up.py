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
from contextlib import contextmanager

import llama_wheel

ROOT = llama_wheel.ROOT


def main(argv: list[str] | None = None) -> int:
    args = _parser().parse_args(argv)
    watch = Stopwatch(args.started)
    watch.parts.append(("virtual environment", time.time() - watch.started))
    try:
        with watch.part("llama.cpp"):
            wheel = llama_wheel.wheel(args.wheels)
        with watch.part("packages"):
            llama_wheel.say("Installing the other packages.")
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


def install(*arguments: str) -> None:
    """Install with uv where it is there, else with pip; raises CalledProcessError where neither can."""
    if uv := shutil.which("uv"):
        command = [uv, "pip", "install", "--quiet", "--python", sys.executable, *arguments]
        if subprocess.run(command, check=False).returncode == 0:
            return
        llama_wheel.say("uv could not (above is why); pip, which may know other indexes, tries.")
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "install", "--quiet"]
    subprocess.run([*pip, *arguments], check=True)


def imports() -> bool:
    """Tell whether the installed llama.cpp can be loaded."""
    command = [sys.executable, "-c", "import llama_cpp"]
    return subprocess.run(command, stderr=subprocess.DEVNULL, check=False).returncode == 0


if __name__ == "__main__":
    sys.exit(main())
