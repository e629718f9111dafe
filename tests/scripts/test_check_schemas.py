"""Masks of schemas against a suite, on a small suite of our own."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import check_schemas
import pytest


def suite(folder: Path, schema: Any, **instances: bool) -> list[str]:
    """Write a suite of one schema; each instance is JSON, and whether it is valid."""
    tests = [{"data": json.loads(text), "valid": valid} for text, valid in instances.items()]
    group = {"description": "one", "schema": schema, "tests": tests}
    (folder / "some.json").write_text(json.dumps([group]), encoding="utf-8")
    return [str(folder), "--list"]


AB: Any = {"type": "object", "properties": {"a": {"type": "integer"}, "b": {"type": "string"}}}


@pytest.mark.parametrize(
    ("schema", "instances", "said"),
    [
        (AB, {'{"b": "é", "a": 1.0}': True, '{"a": "x"}': False, "[]": False}, "1 accepted, 0 refused"),
        ({"not": {}}, {"1": True}, '1 x the JSON schema uses "not"'),
        ({"enum": []}, {"1": False}, "1 x the JSON schema admits no text at all"),
        ({"format": "date"}, {'"today"': True, '"2020-02-02"': True}, "1 narrower, 0 wrong"),
    ],
    ids=str,
)
def test_a_schema_is_kept_or_refused_by_name(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], schema: Any, instances: dict[str, bool], said: str
) -> None:
    assert check_schemas.main(suite(tmp_path, schema, **instances)) == 0
    assert said in capsys.readouterr().out


@pytest.mark.parametrize(
    ("schema", "instances", "said"),
    [
        (AB, {'{"a": 1}': False}, 'admits {"a": 1}'),
        (AB, {'"a"': True}, 'refuses "a"'),
        ({"enum": []}, {"1": True}, "admits no text at all"),
        ({"type": "objekt"}, {"1": True}, "is not valid: Invalid type"),
    ],
    ids=str,
)
def test_what_is_wrong_is_found(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], schema: Any, instances: dict[str, bool], said: str
) -> None:
    assert check_schemas.main(suite(tmp_path, schema, **instances)) == 1
    output = capsys.readouterr().out
    assert "1 wrong" in output
    assert said in output


def test_an_instance_is_tried_in_every_order_of_its_keys() -> None:
    assert sorted(check_schemas.spellings({"a": 1, "b": [2.0]})) == sorted(
        ['{"a": 1, "b": [2.0]}', '{"a": 1, "b": [2]}', '{"b": [2.0], "a": 1}', '{"b": [2], "a": 1}']
    )


def test_an_empty_folder_is_no_success(tmp_path: Path) -> None:
    assert check_schemas.main([str(tmp_path)]) == 1
