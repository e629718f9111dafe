"""Models as programs have them: whatever a mask lets through is one of the model."""

from __future__ import annotations

import random
import uuid
from datetime import date, datetime, timedelta
from decimal import Decimal
from enum import Enum
from ipaddress import IPv4Address
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import pytest
from pydantic import BaseModel, ConfigDict, Field, RootModel, SecretStr, StringConstraints

from exsa_lab.errors import ConfigError
from exsa_lab.forms import find_form, own_format
from exsa_lab.structure.grammar import Grammar
from exsa_lab.structure.parse import parse_form
from exsa_lab.structure.tokenizer import new_tokenizer
from exsa_lab.testing import ScriptedModel

LETTERS = ["\x02", *(chr(code) for code in range(32, 127)), "é", "日", "."]
END = len(LETTERS) - 1
TOKENIZER = new_tokenizer(ScriptedModel(LETTERS, lambda tokens: [1 / len(LETTERS)] * len(LETTERS), ends=[END]))
CLOSING = [LETTERS.index(letter) for letter in '"}],0']
"""Taken where they may come, so that texts end."""


class Colour(Enum):
    RED = "red"
    REDDISH = "reddish"


class Cat(BaseModel):
    kind: Literal["cat"]
    lives: Annotated[int, Field(ge=1, le=9)]


class Dog(BaseModel):
    kind: Literal["dog"]
    weight: Annotated[float, Field(gt=0, lt=90.5)]


class Pet(BaseModel):
    pet: Annotated[Cat | Dog, Field(discriminator="kind")]


class Tree(BaseModel):
    value: Literal[1, 2]
    children: Annotated[list[Tree], Field(max_length=2)] = []


class Chain(BaseModel):
    next: Chain | None


class Shop(BaseModel):
    price: Decimal
    rebate: Decimal | None
    by_name: dict[str, int]
    seen: set[Literal[1, 2, 3]]
    rows: list[list[bool]]
    numbered: dict[int, bool]
    by_colour: dict[Colour, int]
    by_word: dict[Literal["a", "ab"], None]


class Times(BaseModel):
    at: datetime
    day: date
    took: timedelta
    id: uuid.UUID


class Places(BaseModel):
    host: IPv4Address
    file: Path
    raw: bytes
    password: SecretStr


class Bound(BaseModel):
    model_config = ConfigDict(extra="forbid")

    code: Annotated[str, StringConstraints(pattern=r"^[A-Z]{3}-\d{2}$")]
    few: Annotated[list[int], Field(min_length=1, max_length=3)]
    even: Annotated[int, Field(ge=3, lt=17, multiple_of=2)]
    short: Annotated[str, StringConstraints(min_length=2, max_length=3)]
    colour: Colour
    either: int | str | bool | None
    pair: tuple[int, Colour]
    quoted: Literal['say "hi"', "back\\slash"]


class Colours(RootModel[list[Colour]]):
    pass


def written(grammar: Grammar, rng: random.Random, most: int = 400) -> str | None:
    """A text that the mask allows; None where it did not end."""
    mask, text = grammar.begin(), ""
    for _ in range(most):
        if mask.is_complete:
            return text
        allowed = np.flatnonzero(mask.allowed([])).tolist()
        assert allowed, f"nothing may follow {text!r}"
        closing = [token for token in CLOSING if token in allowed]
        token = END if END in allowed else rng.choice(closing if closing and rng.random() < 0.7 else allowed)
        mask.commit([token])
        if token == END:
            return text
        text += LETTERS[token]
    return None


@pytest.mark.parametrize("model", [Pet, Tree, Chain, Shop, Times, Places, Bound, Colours], ids=lambda one: one.__name__)
def test_what_is_written_is_one_of_the_model(model: type[BaseModel]) -> None:
    form = find_form(own_format(model), None, None, None)
    assert form is not None
    grammar, rng = Grammar(form, TOKENIZER), random.Random(1)
    texts = [text for _ in range(20) if (text := written(grammar, rng)) is not None]
    assert len(texts) >= 5
    for text in texts:
        assert isinstance(parse_form(form, text, model), model)


def test_a_schema_of_the_users_own_is_kept_as_it_is() -> None:
    schema: dict[str, Any] = {"type": "array", "items": {"type": "string", "format": "planet"}, "uniqueItems": True}
    form = find_form(own_format({"type": "json_schema", "schema": schema}), None, None, None)
    assert form is not None
    with pytest.raises(ConfigError, match="which is not supported"):
        Grammar(form, TOKENIZER)
