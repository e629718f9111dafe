"""Options of the magics: declared from the configuration's own fields, and every mistake a ConfigError with advice."""

from __future__ import annotations

import argparse
import ast
import contextlib
import inspect
import json
import re
import shlex
import textwrap
from collections.abc import Callable, Iterable
from dataclasses import MISSING, Field, fields
from itertools import pairwise
from types import NoneType
from typing import Any, Literal, TypeVar, get_args, get_origin, get_type_hints

from IPython.core.error import UsageError
from IPython.core.magic_arguments import argument

from exsa_lab.config import did_you_mean
from exsa_lab.errors import ConfigError

MagicFunction = TypeVar("MagicFunction", bound=Callable[..., Any])

_CHOICE = re.compile(r"invalid choice: '?(?P<given>[^']*)'? \(choose from (?P<known>.*)\)")


def option_fields(config: type[Any], *, skip: Iterable[str] = ()) -> Callable[[MagicFunction], MagicFunction]:
    """Declare one option for each field of a dataclass, with the field's text as its help.

    What the user leaves out stays out of the parsed arguments, so the dataclass alone decides defaults and limits.
    """
    texts, hints = field_texts(config), get_type_hints(config)

    def declare(function: MagicFunction) -> MagicFunction:
        # Decorators are read from the last to the first: the reverse keeps the order of the fields.
        for item in reversed([item for item in fields(config) if item.name not in skip]):
            function = _option(item, hints[item.name], texts.get(item.name, ""))(function)
        return function

    return declare


def _option(item: Field[Any], hint: Any, text: str) -> argument:
    flag = "--" + item.name.replace("_", "-")
    help_text = " ".join(text.split()).replace("%", "%%") + f" (default: {_shown(item.default)})"
    shared = {"dest": item.name, "default": argparse.SUPPRESS, "help": help_text}
    if isinstance(item.default, bool):
        return argument(flag, action=argparse.BooleanOptionalAction, **shared)
    if isinstance(item.default, tuple) or any(get_origin(part) is tuple for part in get_args(hint)):
        return argument(flag, action="append", metavar="TEXT", type=unescape, **shared)
    if get_origin(hint) is dict:
        return argument(flag, metavar="JSON", type=json_value, **shared)
    read = str if str in get_args(hint) else literal
    return argument(flag, metavar="|".join(_placeholders(hint)), type=read, **shared)


def _placeholders(hint: Any) -> list[str]:
    """What a value may look like: ``["N", "auto"]`` for ``int | Literal["auto"]``."""
    if get_origin(hint) is Literal:
        return [str(choice) for choice in get_args(hint)]
    if get_args(hint):
        return [name for part in get_args(hint) if part is not NoneType for name in _placeholders(part)]
    if hint is bool:
        return ["true", "false"]
    return [{int: "N", float: "X"}.get(hint, "TEXT")]


def _shown(default: object) -> str:
    return "none" if default in (None, (), MISSING) else str(default)


def literal(text: str) -> bool | int | float | str:
    """Read a number, true or false where it is one; whether it fits is for the configuration to say."""
    if text.lower() in ("true", "false"):
        return text.lower() == "true"
    for read in (int, float):
        with contextlib.suppress(ValueError):
            return read(text)
    return text


def json_value(text: str) -> Any:
    """Read JSON where it is some; whether it fits is for the configuration to say."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text


def unescape(text: str) -> str:
    r"""Turn ``\n`` and ``\t`` into the characters, which cannot be typed on a magic's line."""
    return text.replace("\\n", "\n").replace("\\t", "\t")


def field_texts(config: type[Any]) -> dict[str, str]:
    """Return the text below each field of a dataclass; empty where its source is not at hand."""
    try:
        body = ast.parse(textwrap.dedent(inspect.getsource(config))).body[0]
    except (OSError, SyntaxError):
        return {}
    assert isinstance(body, ast.ClassDef)
    return {
        statement.target.id: below.value.value
        for statement, below in pairwise(body.body)
        if isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name)
        if isinstance(below, ast.Expr) and isinstance(below.value, ast.Constant) and isinstance(below.value.value, str)
    }


def parse(magic: Any, line: str) -> argparse.Namespace:
    """Parse a magic's line; raises ConfigError, with the nearest known option for an unknown one.

    Quotes group words and a backslash is itself, so Windows paths need no care.
    """
    usage = ("%%" if "cell" in inspect.signature(magic).parameters else "%") + f"{magic.__name__}?"
    args: argparse.Namespace
    try:
        args, unknown = magic.parser.parse_known_args(_split(line))
    except UsageError as error:
        raise _mistake(usage, str(error)) from None
    for word in unknown:
        if word.startswith("-"):
            advice = did_you_mean(word.partition("=")[0], flags(magic)).strip()
            raise ConfigError(f"unknown option {word!r}.", hint=advice or f"{usage} lists the options.")
    if unknown:
        raise ConfigError(f"{unknown[0]!r} is not expected here.", hint=f"{usage} shows how to use it.")
    return args


def cell_usage(magic: MagicFunction) -> MagicFunction:
    """Have a cell magic's help begin as it is typed: IPython writes every magic with one percent sign."""
    magic.__doc__ = (magic.__doc__ or "").replace(f"%{magic.__name__}", f"%%{magic.__name__}", 1)
    return magic


def flags(magic: Any) -> list[str]:
    """Return every option of a magic, as it is typed."""
    return [flag for action in magic.parser._actions for flag in action.option_strings]


def _split(line: str) -> list[str]:
    words = shlex.shlex(line, posix=True, punctuation_chars=False)
    words.whitespace_split, words.commenters, words.escape = True, "", ""
    try:
        return list(words)
    except ValueError:
        raise ConfigError("a quotation mark is never closed.", hint='Put "..." around the whole value.') from None


def _mistake(usage: str, message: str) -> ConfigError:
    """Say argparse's complaint in our words."""
    what = message.removeprefix("argument ").replace("expected one argument", "needs a value")
    advice = f"{usage} lists the options."
    if (choice := _CHOICE.search(message)) is not None:
        known = re.findall(r"[\w-]+", choice["known"])
        option = what.partition(":")[0]
        what = f"{option} is {choice['given']!r}"
        advice = f"It must be one of {', '.join(known)}.{did_you_mean(choice['given'], known)}"
    return ConfigError(f"{what}.", hint=advice)
