"""Forms as users give them."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import BaseModel

from exsa_lab.config import SamplingParams
from exsa_lab.errors import ConfigError
from exsa_lab.forms import MAX_FORM, Form, model_of


class City(BaseModel):
    name: str
    size: int


SCHEMA = {"type": "object", "properties": {"a": {"type": "integer"}}}


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ({"type": "json_object"}, {"type": "json_object"}),
        ({"type": "text"}, None),
        ({"type": "json_schema", "schema": SCHEMA}, {"type": "json_schema", "schema": SCHEMA}),
        (
            {"type": "json_schema", "json_schema": {"name": "x", "strict": True, "schema": SCHEMA}},
            {"type": "json_schema", "schema": SCHEMA},
        ),
        (City, {"type": "json_schema", "schema": City.model_json_schema()}),
    ],
)
def test_response_formats(given: Any, kept: Any) -> None:
    params = SamplingParams(response_format=given)
    assert params.response_format == kept
    assert (params.form is None) == (kept is None)
    assert SamplingParams(response_format=params.response_format) == params


def test_the_form_of_each_parameter() -> None:
    assert SamplingParams().form is None
    assert SamplingParams(regex="a+").form == Form("regex", "a+")
    assert SamplingParams(grammar='start: "a"').form == Form("lark", 'start: "a"')
    assert SamplingParams(grammar='root ::= "a"').form == Form("gbnf", 'root ::= "a"')
    assert SamplingParams(choice=["yes", "né"]).form == Form("choice", '["yes", "né"]')  # type: ignore[arg-type]
    assert model_of(City) is City
    assert model_of(dict) is None


@pytest.mark.parametrize(
    ("params", "what"),
    [
        ({"choice": []}, "choice is empty"),
        ({"choice": ["a", ""]}, "choice holds ''"),
        ({"choice": ["a", 3]}, "choice holds 3"),
        ({"choice": "ab"}, "choice is 'ab'"),
        ({"choice": ["a", "\ud83d"]}, "choice has half a character"),
        ({"regex": "a|\ud83d"}, "regex has half a character"),
        ({"regex": ""}, "regex is ''"),
        ({"grammar": b"a"}, "grammar is b'a'"),
        ({"regex": "a", "choice": ["b"]}, "regex and choice are both given"),
        ({"response_format": 3}, "response_format is 3"),
        ({"response_format": {"type": "json"}}, "response_format is"),
        ({"response_format": {"type": "json_schema"}}, "the schema of response_format is None"),
        ({"response_format": {"type": "json_schema", "schema": {"a": object()}}}, "schema.a is"),
        ({"response_format": dict}, "response_format is"),
        ({"regex": "a" * (MAX_FORM + 1)}, "characters long"),
        ({"choice": (str(i) for i in range(10**9))}, "more than"),
    ],
)
def test_what_is_no_form_is_one_clear_line(params: dict[str, Any], what: str) -> None:
    with pytest.raises(ConfigError, match=what) as caught:
        SamplingParams.from_kwargs(**params)
    assert len(str(caught.value).splitlines()) == 1
