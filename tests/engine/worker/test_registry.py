"""All that is alive, and a short memory of the rest."""

from __future__ import annotations

import pytest

from exsa_lab.engine.worker.registry import MAX_RECENT, Registry
from exsa_lab.errors import QueueFull


def test_what_is_over_is_remembered_for_a_while_and_what_is_alive_for_as_long_as_it_lives() -> None:
    registry: Registry[str] = Registry()
    registry.add(0, "old", most=MAX_RECENT + 2)
    for key in range(1, MAX_RECENT + 2):
        registry.add(key, str(key), most=MAX_RECENT + 2)
        registry.remove(key)
    assert registry.live == ["old"]
    assert len(registry.recent) == MAX_RECENT + 1
    assert registry.recent[0] == "old"
    registry.remove(0)
    assert registry.live == []
    assert "old" not in registry.recent


def test_no_more_than_so_many_are_alive() -> None:
    registry: Registry[str] = Registry()
    registry.add(1, "a", most=1)
    with pytest.raises(QueueFull, match="1 generations are waiting"):
        registry.add(2, "b", most=1)
    assert registry.recent == ["a"]
    registry.remove(1)
    registry.add(2, "b", most=1)
    assert registry.recent == ["a", "b"]


def test_what_was_never_begun_is_forgotten() -> None:
    registry: Registry[str] = Registry()
    registry.add(1, "a", most=9)
    registry.forget(1)
    assert (registry.live, registry.recent) == ([], [])
    registry.remove(1)
