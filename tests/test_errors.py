"""What errors say is one line that cannot act, whatever was given."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exsa_lab.errors import ConfigError, InvalidModel, shown


class Hostile:
    def __repr__(self) -> str:
        raise RuntimeError("no")


@given(st.text(st.characters(min_codepoint=0, max_codepoint=0x10FFFF)))
def test_an_error_never_holds_a_control_character(text: str) -> None:
    error = InvalidModel(text, hint=text)
    assert str(error).isprintable()
    assert "".join(error._render_traceback_()).isprintable()


@pytest.mark.parametrize(
    "value",
    ["\x1b[2J", "x" * 10**7, 10**5000, Hostile(), [Hostile()], b"\xff" * 10**7, "\ud800"],
    ids=["escape", "long", "digits", "hostile", "in a list", "bytes", "surrogate"],
)
def test_any_value_can_be_shown(value: Any) -> None:
    assert shown(value).isprintable()
    assert len(shown(value)) <= 80


def test_a_plain_message_stays_as_it_is() -> None:
    assert str(ConfigError("Größe 3 is 4.", hint="Use 5.")) == "Größe 3 is 4. Use 5."
