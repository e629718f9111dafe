"""From a text to what it says."""

from __future__ import annotations

import pytest
from pydantic import BaseModel, field_validator

from exsa_lab.errors import IncompleteForm
from exsa_lab.forms import Form
from exsa_lab.structure.parse import parse_form


class Even(BaseModel):
    number: int

    @field_validator("number")
    @classmethod
    def _is_even(cls, number: int) -> int:
        if number % 2:
            raise ValueError("odd")
        return number


JSON = Form("json", "{}")


def test_texts_objects_and_models() -> None:
    assert parse_form(Form("regex", "a"), "a") == "a"
    assert parse_form(JSON, '{"a": [1]}') == {"a": [1]}
    assert parse_form(JSON, '{"number": 4}', Even) == Even(number=4)


@pytest.mark.parametrize(("text", "model"), [('{"a": ', None), ('{"number": 3}', Even)])
def test_what_it_does_not_say(text: str, model: type | None) -> None:
    with pytest.raises(IncompleteForm, match="not what was asked for"):
        parse_form(JSON, text, model)
