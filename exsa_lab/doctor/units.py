"""Numbers as people read them."""

from __future__ import annotations


def size(num_bytes: float | None) -> str:
    """Return bytes in the unit that fits: ``size(94_371_840)`` is ``"90.0 MiB"``."""
    if num_bytes is None:
        return "unknown"
    power = min(4, max(0, int(abs(num_bytes)).bit_length() - 1) // 10)
    number = num_bytes / 1024**power
    return f"{number:.{1 if power else 0}f} {('B', 'KiB', 'MiB', 'GiB', 'TiB')[power]}"


def count(number: int, noun: str) -> str:
    """Return ``"1 token"``, ``"2 tokens"``."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
