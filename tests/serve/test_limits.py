"""Limits are checked where they are made."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import pytest

from exsa_lab.errors import ConfigError
from exsa_lab.serve.limits import Limits


@pytest.mark.parametrize("name", [field.name for field in fields(Limits)])
@pytest.mark.parametrize("value", [0, -1, "3", None, True, float("nan"), float("inf"), 1 << 80])
def test_a_limit_is_a_number_above_zero(name: str, value: Any) -> None:
    with pytest.raises(ConfigError, match=name):
        Limits(**{name: value})
