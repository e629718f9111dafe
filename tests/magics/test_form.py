"""Forms named on a magic's line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from pydantic import BaseModel

from exsa_lab.errors import ConfigError
from exsa_lab.magics.form import form_params


class City(BaseModel):
    name: str


SCHEMA = {"type": "object"}
FORMAT = {"type": "json_schema", "schema": SCHEMA}


def test_schemas_by_variable_file_and_text(tmp_path: Path) -> None:
    path = tmp_path / "schema.json"
    path.write_text(json.dumps(SCHEMA))
    names = {"City": City, "schema": SCHEMA, "given": FORMAT}
    for name, found in {
        "City": City,
        "schema": FORMAT,
        "given": FORMAT,
        str(path): FORMAT,
        json.dumps(SCHEMA): FORMAT,
    }.items():
        assert form_params({"response_format": name}, names) == {"response_format": found}
    assert form_params({"response_format": "object"}, {}) == {"response_format": {"type": "json_object"}}
    assert form_params({}, names) == {}


def test_grammars_by_variable_file_and_text(tmp_path: Path) -> None:
    path = tmp_path / "x.gbnf"
    path.write_text('root ::= "x"')
    assert form_params({"grammar": str(path)}, {}) == {"grammar": 'root ::= "x"'}
    assert form_params({"grammar": "mine"}, {"mine": "start: A"}) == {"grammar": "start: A"}
    assert form_params({"grammar": 'start: "x"'}, {}) == {"grammar": 'start: "x"'}


@pytest.mark.parametrize(
    ("name", "what"),
    [("Citi", "neither a variable nor a file. Did you mean 'City'"), ("number", "which is 3"), ("{", "is no JSON")],
)
def test_what_is_no_schema_is_named(name: str, what: str) -> None:
    with pytest.raises(ConfigError) as caught:
        form_params({"response_format": name}, {"City": City, "number": 3})
    assert what in str(caught.value)
