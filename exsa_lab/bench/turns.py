"""Two engines that take turns of a few steps, so that what slows the machine for a second slows both.

A round takes a second or more, in which other programs come and go: on two shared cores the ratio of one round of eight
requests to the next scatters by 0.12, and that of two engines in turn by 0.03; so do short texts alone.
"""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable, Sequence
from functools import partial

from exsa_lab.engine.engine import Engine
from exsa_lab.engine.generation import Generation
from exsa_lab.engine.loop import Loop

STEPS = 4
"""Steps of a turn: 0.03 s with one request of the default pair on two cores, 0.1 s with eight."""


class Turns:
    """Paces two engines. Each engine's thread asks before a step and tells after it; nothing else may use them.

    Example::

        turns = Turns(plain, auto)
        speeds = turns.run(lambda: [plain.submit("Hi", draft_length=0)], lambda: [auto.submit("Hi")])
    """

    def __init__(
        self,
        one: Engine,
        other: Engine,
        *,
        with_prompts: bool = True,
        before_step: Callable[[Loop], None] = lambda loop: None,
    ) -> None:
        """``with_prompts``: the time until the first tokens counts, too. Who is in turn calls ``before_step``."""
        self._with_prompts = with_prompts
        self._before_step = before_step
        self._changed = threading.Condition()
        self._is_busy = [False, False]
        self._whose = 0
        self._steps_left = STEPS
        self._seconds = [0.0, 0.0]
        for number, engine in enumerate((one, other)):
            engine.call(partial(self._pace, number))

    def run(self, *submits: Callable[[], Sequence[Generation]]) -> tuple[float, float]:
        """Let each engine do what its function submits; returns their tokens per second, by the time of its own steps.

        Without prompts it is the speed of decoding: the steps up to a first token are not counted, nor is that token.
        """
        with self._changed:  # no step begins before all is submitted
            self._is_busy, self._seconds = [True, True], [0.0, 0.0]
            self._whose, self._steps_left = 1 - self._whose, STEPS
            submitted = [submit() for submit in submits]
        try:
            for generation in itertools.chain(*submitted):
                generation.result()
        finally:
            with self._changed:
                self._is_busy = [False, False]
                self._changed.notify_all()
        first, second = (
            sum(map(self._num_tokens, each)) / seconds if seconds else 0.0
            for each, seconds in zip(submitted, self._seconds, strict=True)
        )
        return first, second

    def _num_tokens(self, generation: Generation) -> int:
        num_tokens = generation.stats.generated_tokens
        return num_tokens if self._with_prompts else num_tokens - 1

    def _pace(self, number: int, loop: Loop) -> None:
        step = loop.step

        def in_turn() -> None:
            self._wait_for_turn(number)
            self._before_step(loop)
            counts = self._with_prompts or all(sequence.num_generated for sequence in loop.sequences)
            begin = time.perf_counter()
            try:
                step()
            finally:
                seconds = time.perf_counter() - begin if counts else 0.0
                self._end_step(number, seconds, is_busy=loop.has_work)

        setattr(loop, "step", in_turn)  # noqa: B010  (a method of one object is replaced)

    def _wait_for_turn(self, number: int) -> None:
        with self._changed:
            self._changed.wait_for(lambda: self._whose == number or not self._is_busy[1 - number])

    def _end_step(self, number: int, seconds: float, *, is_busy: bool) -> None:
        with self._changed:
            self._seconds[number] += seconds
            self._steps_left -= 1
            if self._steps_left <= 0 or not is_busy:
                self._whose, self._steps_left = 1 - number, STEPS
            self._is_busy[number] = self._is_busy[number] and is_busy
            self._changed.notify_all()
