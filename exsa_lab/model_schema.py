"""The JSON schema of a pydantic model, as a mask can keep it: whatever has it can be read by the model."""

from __future__ import annotations

import functools
from typing import Any

_FORMATS = ("date-time", "time", "date", "duration", "email", "hostname", "ipv4", "ipv6", "uuid", "uri")
"""Values of "format" that a mask keeps. pydantic checks the others when a text is read."""
_VALUES = ("const", "enum", "default", "examples")
_LEAP = r"([1-9][0-9](0[48]|[2468][048]|[13579][26])|([2468][048]|[13579][26])00)-02-29"
_MONTHS = r"(0[13578]|1[02])-(0[1-9]|[12][0-9]|3[01])|(0[469]|11)-(0[1-9]|[12][0-9]|30)|02-(0[1-9]|1[0-9]|2[0-8])"
_DATE = rf"([1-9][0-9]{{3}}-({_MONTHS})|{_LEAP})"
_TIME = r"([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](\.[0-9]{1,6})?(Z|[+-]([01][0-9]|2[0-3]):[0-5][0-9])"
_DAYS = r"([0-9]{1,3}Y([0-9]{1,4}M)?([0-9]{1,5}D)?|[0-9]{1,4}M([0-9]{1,5}D)?|[0-9]{1,5}D)"
_HOURS = r"T([0-9]{1,2}H([0-9]{1,2}M)?([0-9]{1,2}S)?|[0-9]{1,2}M([0-9]{1,2}S)?|[0-9]{1,2}S)"
_SHAPES = {
    "date": f"^{_DATE}$",
    "time": f"^{_TIME}$",
    "date-time": f"^{_DATE}T{_TIME}$",
    "duration": f"^P([0-9]{{1,4}}W|{_DAYS}({_HOURS})?|{_HOURS})$",
}
"""What Python's datetime can hold: no 29th of February in other years, no year 0, no leap second."""


def schema_of(model: type[Any]) -> Any:
    """Return the schema of a pydantic model: a Decimal as a number, sets as lists, dates that are there in a calendar.

    Example: ``schema_of(City)["required"]``.
    """
    if not hasattr(model, "__pydantic_core_schema__"):  # another library's, with the same method
        return model.model_json_schema()
    return _kept(model.model_json_schema(schema_generator=_generator()))


@functools.cache
def _generator() -> type[Any]:
    from pydantic.json_schema import GenerateJsonSchema

    class Generator(GenerateJsonSchema):
        """Leaves out of each type what its values are read from but need not be."""

        def decimal_schema(self, schema: Any) -> dict[str, Any]:
            found = super().decimal_schema(schema)
            return dict(found["anyOf"][0]) if "anyOf" in found else found

        def set_schema(self, schema: Any) -> dict[str, Any]:
            return _without(super().set_schema(schema), "uniqueItems")

        def frozenset_schema(self, schema: Any) -> dict[str, Any]:
            return _without(super().frozenset_schema(schema), "uniqueItems")

        def dict_schema(self, schema: Any) -> dict[str, Any]:
            found, keys = super().dict_schema(schema), schema.get("keys_schema", {})
            values = found.get("additionalProperties", True)
            match keys.get("type"):
                case "int":
                    own: dict[str, Any] = {"patternProperties": {"^-?[0-9]{1,18}$": values}}
                case "enum":
                    own = {"properties": {str(member.value): values for member in keys["members"]}}
                case "literal":
                    own = {"properties": {str(name): values for name in keys["expected"]}}
                case _:
                    return found
            return {**_without(found, "propertyNames"), **own, "additionalProperties": False}

    return Generator


def _kept(schema: Any) -> Any:
    """A schema with shapes of dates and times in place of their formats, and without formats that no mask keeps."""
    if isinstance(schema, list):
        return list(map(_kept, schema))
    if not isinstance(schema, dict):
        return schema
    kept = {key: value if key in _VALUES else _kept(value) for key, value in schema.items()}
    name = kept.get("format")
    if not isinstance(name, str):
        return kept
    if name in _SHAPES and "pattern" not in kept:
        return {**_without(kept, "format"), "pattern": _SHAPES[name]}
    return kept if name in _FORMATS else _without(kept, "format")


def _without(schema: dict[str, Any], name: str) -> dict[str, Any]:
    return {key: value for key, value in schema.items() if key != name}
