"""Forms that a text is to have, as users give them, checked and copied: JSON, regex, grammar, choice."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from itertools import islice
from typing import Any, Literal, NamedTuple

from exsa_lab.errors import ConfigError, shown
from exsa_lab.model_schema import schema_of
from exsa_lab.plain import plain

FormKind = Literal["json", "regex", "lark", "gbnf", "choice", "tools"]
MAX_FORM = 1 << 18
"""Longest text of a form, in characters."""
MAX_CHOICES = 10_000
_FORMATS = 'a pydantic model, {"type": "json_schema", "schema": {...}} or {"type": "json_object"}'


class Form(NamedTuple):
    """A form in one text, which a grammar is compiled from."""

    kind: FormKind
    text: str
    """JSON for "json" (the schema) and "choice" (the list); Lark for "tools"."""


def find_form(
    response_format: Any, regex: str | None, grammar: str | None, choice: Iterable[str] | None
) -> Form | None:
    """Return the form that checked parameters ask for; raises ConfigError for two at once, or one that is too long."""
    given = {"response_format": response_format, "regex": regex, "grammar": grammar, "choice": choice}
    names = [name for name, value in given.items() if value is not None]
    if len(names) > 1:
        raise ConfigError(f"{' and '.join(names)} are both given.", hint="A text has one form: give one of them.")
    if not names:
        return None
    if response_format is not None:
        form = Form("json", json.dumps(response_format.get("schema", {"type": "object"})))
    elif regex is not None:
        form = Form("regex", regex)
    elif grammar is not None:
        form = Form("gbnf" if "::=" in grammar else "lark", grammar)
    else:
        form = Form("choice", json.dumps(list(choice or ()), ensure_ascii=False))
    if len(form.text) > MAX_FORM:
        raise ConfigError(
            f"{names[0]} is {len(form.text):,} characters long.",
            hint=f"At most {MAX_FORM:,} are read: make it smaller.",
        )
    return form


def model_of(response_format: object) -> type[Any] | None:
    """Return the pydantic model that was given for a response format; None where it is something else."""
    is_model = isinstance(response_format, type) and callable(getattr(response_format, "model_json_schema", None))
    return response_format if is_model else None  # type: ignore[return-value]


def own_format(value: object) -> dict[str, Any] | None:
    """Return a response format as plain JSON, a pydantic model by its schema; None for a text of any form."""
    if (model := model_of(value)) is not None:
        return {"type": "json_schema", "schema": plain(schema_of(model), f"the schema of {model.__name__}")}
    if isinstance(value, Mapping):
        match value.get("type"):
            case "text":
                return None
            case "json_object":
                return {"type": "json_object"}
            case "json_schema":
                inner = value.get("json_schema", value)  # the way of OpenAI's interface, or the schema beside the type
                schema = inner.get("schema") if isinstance(inner, Mapping) else None
                if isinstance(schema, Mapping):
                    return {"type": "json_schema", "schema": plain(schema, "schema")}
                raise ConfigError(f"the schema of response_format is {shown(schema)}.", hint="It must be a dictionary.")
    if value is None:
        return None
    raise ConfigError(f"response_format is {shown(value)}.", hint=f"It must be {_FORMATS}.")


def own_text(name: str, value: object) -> str | None:
    if value is None:
        return None
    if isinstance(value, str) and value:
        return _encodable(name, value)
    raise ConfigError(f"{name} is {shown(value)}.", hint="It must be a text that is not empty.")


def own_choice(choice: object) -> tuple[str, ...] | None:
    if choice is None:
        return None
    if isinstance(choice, str | bytes | bytearray | Mapping) or not isinstance(choice, Iterable):
        raise ConfigError(f"choice is {shown(choice)}.", hint="It must be a list of texts.")
    texts = tuple(islice(choice, MAX_CHOICES + 1))
    if not texts:
        raise ConfigError("choice is empty.", hint="Give at least one text to choose.")
    if len(texts) > MAX_CHOICES:
        raise ConfigError(f"choice has more than {MAX_CHOICES:,} texts.", hint="Fewer are enough.")
    for text in texts:
        if not isinstance(text, str) or not text:
            raise ConfigError(f"choice holds {shown(text)}.", hint="Every choice must be a text that is not empty.")
    return tuple(_encodable("choice", text) for text in texts)


def _encodable(name: str, text: str) -> str:
    """A text as it is; raises ConfigError for one that no bytes stand for."""
    if any("\ud800" <= character <= "\udfff" for character in text):
        raise ConfigError(f"{name} has half a character in {shown(text)}.", hint="Give the whole one.")
    return str(text)
