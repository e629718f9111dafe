"""Checks of one value: taken as Python's own, or refused in one line. What parameters make of them: test_config."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest

from exsa_lab import checks
from exsa_lab.errors import ConfigError


@pytest.mark.parametrize(
    ("check", "value", "found"),
    [
        (lambda v: checks.whole("n", v, 0, 9), np.int8(3), 3),
        (lambda v: checks.number("x", v, 0, 9), np.float32(0.5), 0.5),
        (lambda v: checks.number("x", v, 0, 9), np.int64(2), 2),
        (lambda v: checks.flag("b", v), np.bool_(True), True),
        (checks.stops, None, ()),
        (checks.stops, "a", ("a",)),
        (checks.stops, (t for t in "ab"), ("a", "b")),
        (checks.biases, {"7": 1, "a": np.float64(2)}, {7: 1, "a": 2.0}),
        (checks.suppressed, ["7", 3, "a"], (7, 3, "a")),
        (checks.prompt_logprobs, False, 0),
        (checks.prompt_logprobs, np.bool_(True), True),
        (lambda v: checks.as_list("names", v), ("a", "b"), ["a", "b"]),
        (checks.patience, np.float32(0.5), 0.5),
        (checks.patience, -1, 0.0),
        (checks.patience, np.inf, None),
    ],
)
def test_what_fits_is_pythons_own(check: Callable[[Any], Any], value: Any, found: Any) -> None:
    assert check(value) == found
    assert type(check(value)) is type(found)


@pytest.mark.parametrize(
    ("check", "value"),
    [
        (lambda v: checks.whole("n", v, 0, 9), 10),
        (lambda v: checks.whole("n", v, 0, 9), True),
        (lambda v: checks.whole("n", v, 0, 9), 1.0),
        (lambda v: checks.number("x", v, 0, 9), float("nan")),
        (lambda v: checks.number("x", v, 0, 9), 10**400),
        (lambda v: checks.flag("b", v), 1),
        (lambda v: checks.whole("n", v, 0, 9), pd.NA),
        (lambda v: checks.number("x", v, 0, 9), pd.NA),
        (lambda v: checks.flag("b", v), pd.NA),
        (checks.stops, b"a"),
        (checks.stops, [""]),
        (checks.stops, ["a"] * (checks.MAX_STOPS + 1)),
        (checks.biases, [1]),
        (checks.suppressed, "ab"),
        (checks.suppressed, range(checks.MAX_SHAPED + 1)),
        (checks.suppressed, [""]),
        (lambda v: checks.as_list("names", v), "ab"),
        (checks.patience, float("nan")),
        (checks.patience, "1"),
        (checks.patience, True),
    ],
)
def test_what_does_not_is_refused_in_one_line(check: Callable[[Any], Any], value: Any) -> None:
    with pytest.raises(ConfigError) as caught:
        check(value)
    assert str(caught.value).isprintable()


def test_the_nearest_name() -> None:
    assert checks.did_you_mean("temprature", ["temperature", "seed"]) == " Did you mean 'temperature'?"
    assert checks.did_you_mean("x", ["temperature"]) == ""
