"""Who runs a sweep's trial: kernels that share a file must not take each other's, and take over from the dead."""

from __future__ import annotations

import os
import platform
import time
from typing import Any

import psutil

OWNER = "owner"
"""The trial's attribute that says it."""
_DAY_S = 86_400.0
_SAME_START_S = 2.0
# Sweeps that run in this process now: a trial of one that was interrupted is nobody's, though the process lives on.
_running: set[str] = set()


def begin(call: str) -> None:
    """A sweep of this process begins; ``call`` names it."""
    _running.add(call)


def end(call: str) -> None:
    """It is over, or was interrupted."""
    _running.discard(call)


def owner_of(call: str) -> dict[str, Any]:
    """Return what a trial keeps of the sweep that took it, as JSON values."""
    own = {"host": platform.node(), "pid": os.getpid(), "started": _started(os.getpid())}
    return own | {"call": call, "time": time.time()}


def is_of(owner: Any, call: str) -> bool:
    """Whether a trial was taken by this sweep."""
    return isinstance(owner, dict) and owner.get("call") == call


def is_alive(owner: Any) -> bool:
    """Whether the sweep that took a trial still runs; one of another machine is believed for a day."""
    try:
        if owner["host"] != platform.node():
            return bool(time.time() - owner["time"] < _DAY_S)
        if owner["pid"] == os.getpid():
            return str(owner["call"]) in _running
        return bool(abs(_started(owner["pid"]) - owner["started"]) < _SAME_START_S)
    except (psutil.Error, TypeError, KeyError, ValueError, OverflowError):
        return False


def _started(pid: int) -> float:
    """When a process began: on Linux in seconds since the system did, since a clock that is set moves both."""
    boot = psutil.boot_time() if psutil.LINUX else 0.0
    return float(psutil.Process(pid).create_time() - boot)
