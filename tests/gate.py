"""Holds a scripted engine in the middle of a run, so that no test depends on how fast two threads happen to be."""

from __future__ import annotations

import itertools
import threading
from types import TracebackType

from exsa_lab.engine.engine import Engine
from exsa_lab.testing import Entry


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
                assert self._opened.wait(20), "nobody opened the gate"

        engine.call(lambda loop: setattr(loop.context, "before_decode", before_decode))

    def __enter__(self) -> None:
        assert self._reached.wait(20), "the decode was never reached"

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._opened.set()
