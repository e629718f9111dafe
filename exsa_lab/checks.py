"""Checks of one value that a user gave: it is taken as Python's own, or refused in one line."""

from __future__ import annotations

import difflib
import math
import operator
from collections.abc import Iterable, Mapping
from itertools import islice
from numbers import Integral, Real
from typing import Any

from exsa_lab.errors import ConfigError, shown
from exsa_lab.events import MAX_TOP

MAX_STOPS = 1_000
MAX_SHAPED = 10_000
"""Most tokens with a bias of their own, or suppressed."""


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return ``" Did you mean 'x'?"`` for the nearest known name, or an empty string."""
    near = difflib.get_close_matches(name, list(known), n=1, cutoff=0.6)
    return f" Did you mean {near[0]!r}?" if near else ""


def settle(owner: object, **checked: object) -> None:
    """Put checked values, such as plain numbers in place of numpy's, into a frozen dataclass while it is made."""
    for name, value in checked.items():
        object.__setattr__(owner, name, value)


def whole(name: str, value: object, low: int, high: int, *, extra: str = "") -> int:
    """Return a whole number of any kind, numpy's included, as Python's; raises ConfigError outside of the bounds."""
    try:
        number = None if isinstance(value, bool) else operator.index(value)  # type: ignore[arg-type]
    except TypeError:
        number = None
    if number is None or not low <= number <= high:
        raise ConfigError(f"{name} is {shown(value)}.", hint=f"It must be a whole number from {low} to {high}{extra}.")
    return number


def number(name: str, value: object, low: float, high: float) -> float:
    try:
        number = float(value) if isinstance(value, Real) and not isinstance(value, bool) else math.nan
    except (OverflowError, ValueError):
        number = math.nan
    if not low <= number <= high:  # NaN fails the comparison
        raise ConfigError(f"{name} is {shown(value)}.", hint=f"It must be a number from {low:g} to {high:g}.")
    return int(number) if isinstance(value, Integral) else number


def patience(timeout: object) -> float | None:
    """Return for how many seconds to wait; None for ever. Less than none is none."""
    if timeout is None or timeout == math.inf:
        return None
    return max(0.0, number("timeout", timeout, -1e9, 1e9))


def biases(biases: object) -> dict[int | str, float]:
    if not isinstance(biases, Mapping) or len(biases) > MAX_SHAPED:
        raise ConfigError(
            f"logit_bias is {shown(biases)}.", hint=f"It must be {{token: bias}}, of at most {MAX_SHAPED:,} tokens."
        )
    return {
        _token("logit_bias", key): number(f"logit_bias[{shown(key)}]", bias, -1e6, 1e6) for key, bias in biases.items()
    }


def suppressed(tokens: object) -> tuple[int | str, ...]:
    if isinstance(tokens, str | bytes | bytearray | Mapping) or not isinstance(tokens, Iterable):
        raise ConfigError(f"suppress_tokens is {shown(tokens)}.", hint="It must be a list of token numbers or texts.")
    found = tuple(_token("suppress_tokens", token) for token in islice(tokens, MAX_SHAPED + 1))
    if len(found) > MAX_SHAPED:
        raise ConfigError(f"suppress_tokens has more than {MAX_SHAPED:,} tokens.", hint="Fewer are enough.")
    return found


def _token(name: str, token: object) -> int | str:
    """A token by number, or by its text; JSON has texts only for keys, so that digits are a number."""
    if isinstance(token, str) and not token.isdecimal():
        if not token:
            raise ConfigError(f"{name} names an empty text.", hint="A token is given by its number or its text.")
        return str(token)
    return whole(f"a token of {name}", int(token) if isinstance(token, str) else token, 0, (1 << 31) - 1)


def prompt_logprobs(value: object) -> bool | int:
    if type(value).__name__ in ("bool", "bool_"):
        return True if value else 0
    return whole("prompt_logprobs", value, 0, MAX_TOP, extra=", or True")


def flag(name: str, value: object, *, extra: str = "") -> bool:
    if type(value).__name__ in ("bool", "bool_"):  # numpy's is none of Python's numbers
        return bool(value)
    raise ConfigError(f"{name} is {shown(value)}.", hint=f"It must be True or False{extra}.")


def stops(stop: object) -> tuple[str, ...]:
    if stop is None:
        return ()
    if isinstance(stop, bytes | bytearray | Mapping) or not isinstance(stop, Iterable):
        raise ConfigError(f"stop is {shown(stop)}.", hint="It must be a text or a list of texts.")
    stops = (stop,) if isinstance(stop, str) else tuple(islice(stop, MAX_STOPS + 1))
    if len(stops) > MAX_STOPS:
        raise ConfigError(f"stop has more than {MAX_STOPS} texts.", hint="A few are enough.")
    if not all(isinstance(text, str) and text for text in stops):
        raise ConfigError(f"stop is {shown(stop)}.", hint="Every stop text must be a non-empty string.")
    return tuple(map(str, stops))


def as_list(name: str, values: object, *, of: str = "texts") -> list[Any]:
    """Return a list of what was given for one; a lone text or bytes, which would fall into letters, is refused."""
    if isinstance(values, str | bytes | bytearray | Mapping) or not isinstance(values, Iterable):
        raise ConfigError(f"{name} is {shown(values)}.", hint=f"It must be a list of {of}.")
    return list(values)
