"""Values that came from elsewhere, copied as what JSON can hold."""

from __future__ import annotations

import numbers
import re
from collections.abc import Mapping
from typing import Any

from exsa_lab.errors import ConfigError, shown

MAX_DEPTH = 32
_LONE_BYTES = re.compile("[\udc80-\udcff]+")


def plain(value: object, what: str, depth: int = 0) -> Any:
    """Return a deep copy made of dict, list, str, int, float, bool and None.

    Raises ConfigError for anything else, and beyond 32 levels; ``what`` names the value.

    Example: ``plain({"a": (1, 2)}, "options")`` is ``{"a": [1, 2]}``.
    """
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        return str(value)
    if isinstance(value, numbers.Integral):
        return int(value)
    if isinstance(value, numbers.Real):
        return float(value)
    if depth >= MAX_DEPTH:
        raise ConfigError(f"{what} is nested more than {MAX_DEPTH} levels deep.", hint="Make it flatter.")
    if isinstance(value, Mapping):
        return {text_key(key, what): plain(item, f"{what}.{key}", depth + 1) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item, f"{what}[{index}]", depth + 1) for index, item in enumerate(value)]
    raise ConfigError(f"{what} is {shown(value)}.", hint="It must be made of texts, numbers, lists and dictionaries.")


def legible(raw: bytes) -> str:
    """Return bytes as text, those that are none as ``<F0 9F>``.

    Example: ``legible("a€".encode()[:2])`` is ``"a<E2>"``.
    """
    text = raw.decode("utf-8", "surrogateescape")
    return _LONE_BYTES.sub(lambda found: f"<{' '.join(f'{ord(char) - 0xDC00:02X}' for char in found[0])}>", text)


def text_key(key: object, what: str) -> str:
    if not isinstance(key, str):
        raise ConfigError(f"{what} has the key {shown(key)}.", hint="Keys must be texts.")
    return str(key)
