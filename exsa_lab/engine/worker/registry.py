"""Which generations are not over yet, and the newest that there were. Any thread."""

from __future__ import annotations

import threading
from collections import deque
from typing import Generic, TypeVar

from exsa_lab.errors import QueueFull

MAX_RECENT = 200

T = TypeVar("T")


class Registry(Generic[T]):
    """Two things: all that is alive, which waiting and cancelling are about, and a short memory for people.

    Example::

        registry.add(1, generation, most=100)
        registry.live, registry.recent
        registry.remove(1)
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._live: dict[int, T] = {}
        self._recent: deque[tuple[int, T]] = deque(maxlen=MAX_RECENT)

    def add(self, key: int, item: T, *, most: int) -> None:
        """Keys grow; raises QueueFull when ``most`` are alive already."""
        with self._lock:
            if len(self._live) >= most:
                raise QueueFull(
                    f"{len(self._live)} generations are waiting or running already.",
                    hint="Wait for some (engine.drain()), or load with a larger max_waiting.",
                )
            self._live[key] = item
            self._recent.append((key, item))

    def remove(self, key: int) -> None:
        """It is over; the memory keeps it for a while."""
        with self._lock:
            self._live.pop(key, None)

    def forget(self, key: int) -> None:
        """It was never begun."""
        with self._lock:
            self._live.pop(key, None)
            kept = [entry for entry in self._recent if entry[0] != key]
            self._recent = deque(kept, maxlen=MAX_RECENT)

    @property
    def live(self) -> list[T]:
        """All that are not over, oldest first."""
        with self._lock:
            return list(self._live.values())

    @property
    def recent(self) -> list[T]:
        """All that are not over and the newest of the others, oldest first."""
        with self._lock:
            known = dict(self._recent) | self._live
        return [known[key] for key in sorted(known)]
