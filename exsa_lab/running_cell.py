"""Which cell of a notebook asks. IPython is looked at where it is there, and never imported."""

from __future__ import annotations

import sys


def running_cell() -> int | None:
    """Return n of the cell In [n] whose code calls this; None outside of IPython.

    None as well in a thread, which may outlive its cell, and in a callback between two cells.
    """
    shell = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    if shell is None:
        return None
    runner, frame = type(shell).run_code.__code__, sys._getframe()
    while frame.f_code is not runner:
        if frame.f_back is None:
            return None
        frame = frame.f_back
    # Versions of IPython differ in when they count execution_count on; the cell's text is stored before it runs.
    return len(shell.history_manager.input_hist_parsed) - 1
