"""The Tab key on a magic's line: its options, their values, and the names of models."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any

from exsa_lab.magics.arguments import flags
from exsa_lab.models.catalog import known_names
from exsa_lab.models.conversion import FORMATS

_LISTED: dict[str, Callable[[], list[str]]] = {
    "target": known_names,
    "draft": lambda: ["auto", "none", *known_names()],
    "weights": lambda: list(FORMATS),
}
"""What is proposed for arguments that have names from a list, and take others, too."""


def completer(magic: Any) -> Callable[[Any, Any], list[str]]:
    """Return what IPython calls for the Tab key on a magic's line.

    After an option that takes a value it proposes the values that are known, elsewhere the options and the values of
    the magic's own arguments.
    """

    def complete(_shell: Any, event: Any) -> list[str]:
        typed = event.symbol or ""
        before = event.text_until_cursor[: len(event.text_until_cursor) - len(typed)].split()
        known = {flag: action for action in magic.parser._actions for flag in action.option_strings}
        action = known.get(before[-1]) if before else None
        if action is not None and action.nargs != 0:
            proposed = values(action)
        else:
            positional = [action for action in magic.parser._actions if not action.option_strings]
            proposed = [value for action in positional for value in values(action)]
            proposed += [flag for flag in flags(magic) if flag.startswith("--")]
        return [text for text in proposed if text.startswith(typed)]

    return complete


def values(action: argparse.Action) -> list[str]:
    """Return the values of an argument that can be listed: words of its placeholder in small letters are meant so."""
    if action.dest in _LISTED:
        return _LISTED[action.dest]()
    if action.choices is not None:
        return [str(choice) for choice in action.choices]
    words = action.metavar.split("|") if isinstance(action.metavar, str) else []
    return [word for word in words if word.islower()]
