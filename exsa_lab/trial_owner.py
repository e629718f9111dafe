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
_SAME_START_S = 1.0
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
    process = psutil.Process()
    own = {"host": platform.node(), "pid": process.pid, "started": process.create_time()}
    return own | {"call": call, "time": time.time()}


def is_alive(owner: Any) -> bool:
    """Whether the sweep that took a trial still runs; one of another machine is believed for a day."""
    try:
        if owner["host"] != platform.node():
            return bool(time.time() - owner["time"] < _DAY_S)
        if owner["pid"] == os.getpid():
            return str(owner["call"]) in _running
        return bool(abs(psutil.Process(owner["pid"]).create_time() - owner["started"]) < _SAME_START_S)
    except (psutil.Error, TypeError, KeyError, ValueError, OverflowError):
        return False
