"""Another program that takes the cores, for a while."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from exsa_lab.engine.engine import Engine


@contextmanager
def busy_cores(count: int) -> Iterator[None]:
    """Keep ``count`` cores busy from other processes inside the block."""
    processes = [subprocess.Popen([sys.executable, "-S", "-c", "while True: pass"]) for _ in range(count)]
    try:
        yield
    finally:
        for process in processes:
            process.kill()
        for process in processes:
            process.wait()


def disturbed_speed(engine: Engine, prompts: tuple[str, ...], max_tokens: int, cores: int, **params: Any) -> float:
    """Return tokens per second over all prompts, where the cores are taken halfway through each of them."""
    tokens, seconds = 0, 0.0
    for prompt in prompts:
        generation = engine.submit(prompt, max_tokens=max_tokens, **params)
        while generation.stats.generated_tokens < max_tokens // 2 and not generation.state.is_final:
            time.sleep(0.005)
        with busy_cores(cores):
            generation.result()
        tokens += generation.stats.generated_tokens - 1
        seconds += generation.stats.decode_s
    return tokens / seconds if seconds else 0.0
