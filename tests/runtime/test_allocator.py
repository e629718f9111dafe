"""What was freed is given back to the system."""

from __future__ import annotations

import ctypes
import sys
import threading

import psutil
import pytest

from exsa_lab.runtime.allocator import return_freed

BLOCKS, SIZE = 400, 100_000  # below the size from which each block is given back by itself


def keep_and_free() -> None:
    """As an engine thread does: allocate in an arena of its own, and leave a block at its end."""
    libc = ctypes.CDLL(None)
    libc.malloc.restype, libc.free.argtypes = ctypes.c_void_p, [ctypes.c_void_p]
    blocks = [libc.malloc(SIZE) for _ in range(BLOCKS)]
    for block in blocks:
        ctypes.memset(block, 1, SIZE)
    for block in blocks[:-1]:
        libc.free(block)


@pytest.mark.skipif(sys.platform != "linux" or not hasattr(ctypes.CDLL(None), "malloc_trim"), reason="needs glibc")
def test_what_a_thread_freed_is_given_back() -> None:
    thread = threading.Thread(target=keep_and_free)
    thread.start()
    thread.join()
    before = psutil.Process().memory_info().rss
    return_freed()
    assert before - psutil.Process().memory_info().rss > BLOCKS * SIZE // 2


def test_it_is_harmless_again_and_again() -> None:
    for _ in range(3):
        return_freed()
