"""The Binder image's build steps, run in a clean virtual environment."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import venv
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
BINDER = ROOT / "binder"
ENVIRONMENT = dict(os.environ)
"""As it was before the tests' own cache folder was set: the user's has the wheel that this machine compiled."""


def test_the_files_binder_looks_for() -> None:
    assert os.access(BINDER / "postBuild", os.X_OK)
    assert (BINDER / "runtime.txt").read_text().startswith("python-3.")
    assert "build-essential" in (BINDER / "apt.txt").read_text().split()


@pytest.mark.real
def test_the_default_pair_fits_into_a_binder() -> None:
    done = subprocess.run(
        [sys.executable, "binder/check.py"], cwd=ROOT, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "MiB in the kernel" in done.stdout


@pytest.mark.skipif(
    not (os.environ.get("CI") or os.environ.get("EXSA_LAB_SLOW")),
    reason="installs everything anew, which takes minutes: set EXSA_LAB_SLOW=1",
)
@pytest.mark.real
def test_post_build_in_a_clean_environment(tmp_path: Path) -> None:
    environment = tmp_path / "venv"
    venv.create(environment, with_pip=True)
    # A copy: building a package writes into its folder.
    tree = tmp_path / "tree"
    ignored = shutil.ignore_patterns(".venv", ".git", ".*_cache", "__pycache__", "build", "dist")
    shutil.copytree(ROOT, tree, ignore=ignored)
    settings = {
        **ENVIRONMENT,
        "PATH": f"{environment / 'bin'}{os.pathsep}{os.environ['PATH']}",
        "VIRTUAL_ENV": str(environment),
        "PIP_RETRIES": "1",
        "PIP_TIMEOUT": "10",
    }
    for name in ("PYTHONPATH", "PYTHONHOME"):
        settings.pop(name, None)
    done = subprocess.run(
        ["bash", "binder/postBuild"], cwd=tree, env=settings, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    assert "SmolLM2-135M-Instruct" in done.stdout
    shown = subprocess.run(
        [environment / "bin" / "jupyter", "lab", "--version"], capture_output=True, text=True, check=True
    )
    assert shown.stdout.strip()
