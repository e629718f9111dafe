"""Fill ``{name}`` in a prompt from the notebook's variables."""

from __future__ import annotations

import string
from collections.abc import Iterable, Mapping
from typing import Any

from exsa_lab.config import did_you_mean
from exsa_lab.errors import ConfigError

_HINT = "Write {{ and }} for braces that should stay."


def fill(text: str, namespace: Mapping[str, Any], *, hidden: Iterable[str] = ()) -> str:
    """Format the text with the variables; raises ConfigError for a missing name or a brace that opens nothing.

    ``hidden`` names are never suggested in place of a missing one.

    Example: ``fill("{n:.1f} apples", {"n": 2})`` is ``"2.0 apples"``.
    """
    try:
        return string.Formatter().vformat(text, (), _Variables(namespace, frozenset(hidden)))
    except ConfigError:
        raise
    except (IndexError, KeyError) as error:
        raise ConfigError(f"the prompt has a {{}} without a variable ({error}).", hint=_HINT) from None
    except (ValueError, AttributeError, TypeError) as error:
        raise ConfigError(f"the prompt could not be filled: {error}.", hint=_HINT) from None


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
            f"the prompt names {{{name}}}, but there is no variable {name!r}.{did_you_mean(name, known)}", hint=_HINT
        )

    def __iter__(self) -> Any:
        return iter(self._namespace)

    def __len__(self) -> int:
        return len(self._namespace)
