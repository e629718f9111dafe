"""Forms named on a magic's line: a variable of the notebook, a file, or the text itself."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from exsa_lab.config import did_you_mean
from exsa_lab.errors import ConfigError, shown
from exsa_lab.forms import model_of
from exsa_lab.magics.arguments import unescape

_ENDINGS = (".json", ".lark", ".gbnf", ".txt")


def form_params(params: Mapping[str, Any], namespace: Mapping[str, Any]) -> dict[str, Any]:
    """Return ``response_format`` and ``grammar`` of the parsed options as `SamplingParams` has them."""
    found: dict[str, Any] = {}
    if "response_format" in params:
        found["response_format"] = _schema(params["response_format"], namespace)
    if "grammar" in params:
        found["grammar"] = _grammar(params["grammar"], namespace)
    return found


def _schema(name: str, namespace: Mapping[str, Any]) -> Any:
    if name in namespace:
        value = namespace[name]
        if model_of(value) is not None:
            return value
        if isinstance(value, Mapping):
            return value if value.get("type") in ("json_schema", "json_object") else _format(dict(value))
        raise ConfigError(
            f"--json-schema names {name}, which is {shown(value)}.", hint="It must be a pydantic model or a schema."
        )
    if name == "object":
        return {"type": "json_object"}
    text = name if name.lstrip().startswith("{") else _read("--json-schema", name, namespace)
    try:
        schema = json.loads(text)
    except (ValueError, RecursionError) as cause:
        raise ConfigError(f"--json-schema is no JSON: {shown(str(cause))[1:-1]}.", hint="Check the file.") from cause
    return _format(schema)


def _format(schema: Any) -> dict[str, Any]:
    return {"type": "json_schema", "schema": schema}


def _grammar(text: str, namespace: Mapping[str, Any]) -> str:
    if isinstance(value := namespace.get(text), str):
        return value
    return _read("--grammar", text, namespace) if text.endswith(_ENDINGS) else unescape(text)


def _read(option: str, name: str, namespace: Mapping[str, Any]) -> str:
    try:
        return Path(name).expanduser().read_text(encoding="utf-8")
    except (OSError, ValueError, RuntimeError) as cause:
        names = [key for key in namespace if not key.startswith("_")]
        raise ConfigError(
            f"{option} is {shown(name)}, which is neither a variable nor a file.{did_you_mean(name, names)}",
            hint="Define it, or give the path of a file.",
        ) from cause
