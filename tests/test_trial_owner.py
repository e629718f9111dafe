"""A trial belongs to a sweep that runs, and to nobody once that is over."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from typing import Any

import psutil
import pytest

from exsa_lab.trial_owner import begin, end, is_alive, owner_of


def test_a_sweep_of_this_process_owns_its_trials_while_it_runs() -> None:
    begin("one")
    try:
        assert is_alive(json.loads(json.dumps(owner_of("one"))))
        assert not is_alive(owner_of("another"))
    finally:
        end("one")
    assert not is_alive(owner_of("one"))


def test_another_process_owns_its_trials_until_it_ends() -> None:
    code = "import json, sys, exsa_lab.trial_owner as t; print(json.dumps(t.owner_of('x'))); sys.stdin.read()"
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout is not None
        owner = json.loads(other.stdout.readline())
        assert is_alive(owner)
        assert not is_alive(owner | {"started": owner["started"] - 60})  # the number was given to a new process
        other.communicate()
    assert not is_alive(owner)


@pytest.mark.skipif(not psutil.LINUX, reason="elsewhere the system keeps the time itself")
def test_a_clock_that_is_set_changes_no_owner(monkeypatch: pytest.MonkeyPatch) -> None:
    owner = owner_of("x") | {"call": "of its own"}
    real = psutil._pslinux.boot_time
    monkeypatch.setattr(psutil._pslinux, "boot_time", lambda: real() + 3600)
    monkeypatch.setattr(psutil, "boot_time", psutil._pslinux.boot_time)
    monkeypatch.setattr("exsa_lab.trial_owner.os.getpid", lambda: -1)  # seen from another process
    assert is_alive(owner)


def test_another_machine_is_believed_for_a_day() -> None:
    owner = owner_of("x") | {"host": "elsewhere"}
    assert is_alive(owner)
    assert not is_alive(owner | {"time": time.time() - 90_000})


@pytest.mark.parametrize("owner", [None, {}, "text", {"host": 1}, {"host": "elsewhere", "time": "late"}])
def test_what_says_nothing_owns_nothing(owner: Any) -> None:
    assert not is_alive(owner)
