"""Fill ``{name}`` in a prompt from the notebook's variables."""

from __future__ import annotations

import re
import string
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from exsa_lab.config import did_you_mean
from exsa_lab.errors import ConfigError, shown

_HINT = "Write {{ and }} for braces that should stay."
MAX_WIDTH = 10_000
"""Characters a single number or text may be padded to."""


def fill(text: str, namespace: Mapping[str, Any], *, hidden: Iterable[str] = ()) -> str:
    """Format the text with the variables; raises ConfigError for a missing name or a brace that opens nothing.

    ``hidden`` names are never suggested in place of a missing one.

    Example: ``fill("{n:.1f} apples", {"n": 2})`` is ``"2.0 apples"``.
    """
    try:
        return _Filler().vformat(text, (), _Variables(namespace, frozenset(hidden)))
    except ConfigError:
        raise
    except ValueError as error:  # an unmatched brace, a specification that does not fit
        raise ConfigError(f"the prompt could not be filled: {shown_error(error)}.", hint=_HINT) from None


class _Filler(string.Formatter):
    """Says which name failed, and keeps a width from filling the memory."""

    def get_field(self, field_name: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        first = field_name.partition(".")[0].partition("[")[0]
        if not first or first.isdigit():
            raise ConfigError(f"the prompt has {{{shown(field_name)[1:-1]}}}, which names no variable.", hint=_HINT)
        try:
            return super().get_field(field_name, args, kwargs)
        except ConfigError:
            raise
        except Exception as error:  # a missing item or attribute, or whatever the object's own code raises
            name = shown(field_name)[1:-1]
            raise ConfigError(f"{{{name}}} cannot be read: {shown_error(error)}.", hint=_HINT) from None

    def format_field(self, value: Any, format_spec: str) -> str:
        for digits in re.findall(r"\d+", format_spec):
            if len(digits) > 6 or int(digits) > MAX_WIDTH:
                raise ConfigError(f"the format {shown(format_spec)} is too wide.", hint=f"At most {MAX_WIDTH:,}.")
        try:
            return str(super().format_field(value, format_spec))
        except Exception as error:
            kind = type(value).__name__
            raise ConfigError(f"a {kind} cannot be written so: {shown_error(error)}.", hint=_HINT) from None

    def convert_field(self, value: Any, conversion: Any) -> Any:
        try:
            return super().convert_field(value, conversion)
        except Exception as error:
            kind = type(value).__name__
            raise ConfigError(f"a {kind} cannot be written so: {shown_error(error)}.", hint=_HINT) from None


def shown_error(error: Exception) -> str:
    """Return what an exception says, in one short line."""
    return shown(str(error))[1:-1].rstrip(".") if isinstance(error, ValueError) and str(error) else shown(error)


class _Variables(Mapping[str, Any]):
    """The namespace, with a missing name as an error for people."""

    def __init__(self, namespace: Mapping[str, Any], hidden: frozenset[str]) -> None:
        self._namespace = namespace
        self._hidden = hidden

    def __getitem__(self, name: str) -> Any:
        if name in self._namespace:
            return self._namespace[name]
        known = [known for known in self._namespace if not known.startswith("_") and known not in self._hidden]
        raise ConfigError(
            f"the prompt names a variable {shown(name)} that there is not.{did_you_mean(name, known)}",
            hint=_HINT,
        )

    def __iter__(self) -> Any:
        return iter(self._namespace)

    def __len__(self) -> int:
        return len(self._namespace)
