from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from exsa_lab.errors import ConfigError
from exsa_lab.plain import legible, plain


def test_a_copy_is_deep_and_plain() -> None:
    given = {"a": (1, [np.float32(0.5)]), "b": {"c": None, "d": True}}
    copied = plain(given, "it")
    assert copied == {"a": [1, [0.5]], "b": {"c": None, "d": True}}
    assert type(copied["a"][1][0]) is float
    assert plain(True, "it") is True


@pytest.mark.parametrize(
    ("value", "error"), [({1: 2}, "it has the key 1"), ({"a": {1, 2}}, r"it\.a is"), (b"x", "it is")]
)
def test_what_json_cannot_hold(value: Any, error: str) -> None:
    with pytest.raises(ConfigError, match=error):
        plain(value, "it")


def test_bytes_that_are_no_text_are_shown_as_bytes() -> None:
    smile = "\U0001f600".encode()
    assert legible(smile[:2]) == "<F0 9F>"
    assert legible(b"a" + smile[2:] + b"b" + smile) == "a<98 80>b\U0001f600"
    assert legible(b"plain") == "plain"
