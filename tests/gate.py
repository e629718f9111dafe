"""Holds an engine before or in the middle of a run, so that no test depends on how fast two threads happen to be."""

from __future__ import annotations

import _thread
import itertools
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import TracebackType

from exsa_lab.engine.engine import Engine
from exsa_lab.testing import Entry

PATIENCE_S = 60.0
"""How long to wait for what must happen; never an assertion about speed."""


def until(condition: Callable[[], object]) -> None:
    """Wait for something that must happen."""
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline, "it never came to that"
        time.sleep(0.002)


def interrupt_when(condition: Callable[[], bool]) -> threading.Thread:
    """Interrupt the main thread, as the kernel's signal does, once the condition holds."""

    def watch() -> None:
        deadline = time.monotonic() + PATIENCE_S
        while not condition() and time.monotonic() < deadline:
            time.sleep(0.005)
        _thread.interrupt_main()

    thread = threading.Thread(target=watch)
    thread.start()
    return thread


@contextmanager
def held(engine: Engine) -> Iterator[None]:
    """The engine takes no step meanwhile: what is submitted in the block begins together, and none of it can be over.

    >>> with held(engine):
    ...     gens = [engine.submit(prompt) for prompt in ("abc", "bcd")]
    """
    is_held, may_go_on = threading.Event(), threading.Event()

    def hold(_: object) -> None:
        is_held.set()
        may_go_on.wait(PATIENCE_S)

    thread = threading.Thread(target=engine.call, args=(hold,))
    thread.start()
    assert is_held.wait(PATIENCE_S)
    try:
        yield
    finally:
        may_go_on.set()
        thread.join()


class Gate:
    """Decode number ``at``, counted from here, waits while the block runs.

    >>> gate = Gate(engine, at=5)
    >>> gen = engine.submit("abc")
    >>> with gate:
    ...     gen.cancel()
    """

    def __init__(self, engine: Engine, *, at: int) -> None:
        self._reached, self._opened = threading.Event(), threading.Event()
        count = itertools.count(1)

        def before_decode(_: list[Entry]) -> None:
            if next(count) == at:
                self._reached.set()
                assert self._opened.wait(PATIENCE_S), "nobody opened the gate"

        engine.call(lambda loop: setattr(loop.context, "before_decode", before_decode))

    def __enter__(self) -> None:
        assert self._reached.wait(PATIENCE_S), "the decode was never reached"

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._opened.set()
