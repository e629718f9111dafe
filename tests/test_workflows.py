"""The public workflows call the Makefile's targets and nothing else, so that anyone can run what they run."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))


@pytest.mark.parametrize("workflow", WORKFLOWS, ids=lambda path: path.stem)
def test_every_step_is_a_target(workflow: Path) -> None:
    commands = re.findall(r"\brun: (.+)", workflow.read_text(encoding="utf-8"))
    makefile = ROOT.joinpath("Makefile").read_text(encoding="utf-8")
    targets = {".venv/.ready-dev", *re.findall(r"^([a-z-]+):", makefile, re.MULTILINE)}
    assert commands
    for command in commands:
        program, target, *_ = command.split()
        assert (program, target in targets) == ("make", True), command


def test_every_python_that_is_promised_is_tried() -> None:
    text = "".join(path.read_text(encoding="utf-8") for path in WORKFLOWS)
    assert set(re.findall(r'python: "(3\.\d+)"', text)) == {"3.11", "3.12", "3.13", "3.14"}
