"""Build sdist and wheel into dist/, and try the wheel as a stranger would: in an empty environment, in an empty folder.

``make dist`` runs it. It needs the package `build`; llama-cpp-python comes from the
wheel that `llama_wheel.py` keeps.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import venv
from pathlib import Path

import llama_wheel

DIST = llama_wheel.ROOT / "dist"
MAX_WHEEL_BYTES = 40 << 20
"""The weights of the default draft are half of it."""


def main() -> int:
    shutil.rmtree(DIST, ignore_errors=True)
    # The wheel is made from the sdist, so both are whole.
    subprocess.run([sys.executable, "-m", "build", "--outdir", str(DIST), str(llama_wheel.ROOT)], check=True)
    (wheel,) = DIST.glob("*.whl")
    if wheel.stat().st_size > MAX_WHEEL_BYTES:
        sys.exit(f"{wheel.name} has {wheel.stat().st_size:,} bytes; at most {MAX_WHEEL_BYTES:,} are wanted.")
    with tempfile.TemporaryDirectory() as folder:
        try_wheel(wheel, Path(folder))
    for made in sorted(DIST.iterdir()):
        print(f"{made.stat().st_size / (1 << 20):6.1f} MiB  {made}")
    return 0


def try_wheel(wheel: Path, folder: Path) -> None:
    """Install the wheel into a new environment and run the demo and the doctor from it; raises CalledProcessError."""
    environment = folder / "venv"
    venv.create(environment, with_pip=True)
    python = environment / "bin" / "python"
    pip = [str(python), "-m", "pip", "--disable-pip-version-check", "install", "--quiet"]
    subprocess.run([*pip, str(llama_wheel.wheel()), f"{wheel}[demo,lab]"], check=True)
    outside = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "PYTHONHOME")}
    for command in (["doctor"], ["demo", "--output", "page.html"]):
        print("exsa-lab", *command)
        subprocess.run([str(environment / "bin" / "exsa-lab"), *command], cwd=folder, env=outside, check=True)
    if b"photosynthesis" not in (folder / "page.html").read_bytes():
        sys.exit("The demo's page does not show the quickstart.")


if __name__ == "__main__":
    sys.exit(main())
