"""Which cell of a notebook asks. IPython is looked at where it is there, and never imported."""

from __future__ import annotations

import sys
from types import FrameType


def running_cell() -> int | None:
    """Return n of the cell In [n] whose code calls this; None outside of IPython.

    None as well in a thread, which may outlive its cell, and in a callback between two cells.
    """
    shell = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    if shell is None:
        return None
    runner, result = type(shell).run_code.__code__, None
    frame: FrameType | None = sys._getframe()
    while frame is not None:
        if frame.f_code is runner:
            result = frame.f_locals["result"]  # the outermost counts: a cell may run others
        frame = frame.f_back
    # Versions of IPython raise the shell's own count at different times, and not every cell is stored.
    return None if result is None else result.execution_count
