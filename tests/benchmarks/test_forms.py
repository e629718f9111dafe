"""Texts of twelve JSON schemas, each parsed and validated."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

import exsa_lab as xl
from benchmarks import forms
from benchmarks.forms import SCHEMAS, fault, texts
from exsa_lab.forms import Form
from exsa_lab.structure.grammar import Grammar
from exsa_lab.structure.tokenizer import llguidance

PERSON = '{"name": "Ada", "age": 36, "is_customer": true}'


@pytest.mark.parametrize("name", SCHEMAS)
def test_every_schema_can_be_kept(name: str) -> None:
    Grammar(Form("json", json.dumps(SCHEMAS[name])), llguidance().LLTokenizer("byte"))


@pytest.mark.parametrize(
    ("text", "what"),
    [
        (PERSON, None),
        (PERSON.replace("36", "136"), "136 is greater than the maximum of 120"),
        (PERSON[:-1], "Expecting"),
        (PERSON.replace('"age": 36, ', ""), "'age' is a required property"),
    ],
)
def test_what_is_wrong_with_a_text_is_found(text: str, what: str | None) -> None:
    found = fault("a person", text)
    assert found is None if what is None else what in str(found)


@pytest.fixture
def engine() -> Iterator[xl.Engine]:
    yield xl.load(n_ctx=4096)
    xl.unload()


@pytest.mark.real
def test_every_text_that_ends_has_its_form(engine: xl.Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """24 of the 200 that ``python -m benchmarks forms`` writes: each schema once alone, once in company."""
    monkeypatch.setattr(forms, "MAX_TOKENS", 96)
    finished = 0
    for name, generation in texts(engine, 24):
        assert generation.error is None
        if generation.finish_reason == "stop":
            finished += 1
            assert fault(name, generation.text) is None, generation.text
    assert finished >= 12
