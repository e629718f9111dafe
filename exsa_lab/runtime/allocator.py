"""Memory that was freed goes back to the system, not only to the allocator."""

from __future__ import annotations

import contextlib
import ctypes
import sys


def return_freed() -> None:
    """Have the C allocator give back what it keeps of freed memory, where it can be asked to (glibc).

    It keeps tens of megabytes for each thread that freed large buffers, and every engine has a thread of its own: after
    fifty loads a process held 160 MB that nobody used.
    """
    if sys.platform == "linux":
        with contextlib.suppress(AttributeError, OSError):  # other C libraries
            ctypes.CDLL(None).malloc_trim(0)
