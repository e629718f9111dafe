"""Another program that takes the cores, for a while."""

from __future__ import annotations

import sys
from types import TracebackType

import psutil

from exsa_lab.engine.loop import Loop


class Disturbance:
    """Processes that keep some cores busy from half of each text on, whoever is in turn (`turns.Turns`).

    Example::

        with Disturbance(cores=2, from_token=32) as disturbance:
            turns = Turns(plain, auto, before_step=disturbance.follow)
    """

    def __init__(self, cores: int, from_token: int) -> None:
        self._from_token = from_token
        self.is_on = True  # as processes are that just began
        self._processes = [psutil.Popen([sys.executable, "-S", "-c", "while True: pass"]) for _ in range(cores)]
        self.switch(is_on=False)

    def __enter__(self) -> Disturbance:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        for process in self._processes:
            process.kill()
        for process in self._processes:
            process.wait()

    def follow(self, loop: Loop) -> None:
        """Take the cores, or leave them, for this engine's next step."""
        self.switch(is_on=all(sequence.num_generated >= self._from_token for sequence in loop.sequences))

    def switch(self, *, is_on: bool) -> None:
        """Take the cores or leave them."""
        if is_on != self.is_on:
            for process in self._processes:
                process.resume() if is_on else process.suspend()
            self.is_on = is_on
