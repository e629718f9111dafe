"""What a template may do with values: operators, formats, and the methods of texts, lists and dictionaries.

Everything here is listed by name, pays before it computes, and keeps the marks of texts.
"""

from __future__ import annotations

import re
import string
from collections.abc import Callable
from typing import Any

from jinja2.exceptions import SecurityError

from exsa_lab.prompts.limits import MAX_INTEGER_BITS, MAX_WIDTH, WorkBudget
from exsa_lab.prompts.marked import SafeText, cut, escaped, join, made_from, mapped, pieces_of, replaced, rest_of, safe

_SEARCH_PER_UNIT = 64
"""Comparisons of characters that cost one unit."""
_PERCENT = re.compile(r"%(?:\(([^()]*)\))?([-+ #0]*)(\*|\d*)(?:\.(\*|\d*))?[hlL]?([diouxXeEfFgGcrsa%])")
_FORMAT_SPEC = re.compile(r"(?:.?[<>=^])?[-+ ]?z?#?0?(\d*)[,_]?(?:\.(\d+))?[bcdeEfFgGnosxX%]?", re.DOTALL)


def to_text(budget: WorkBudget, value: Any) -> str:
    """Write a value out, as ``{{ value }}`` does."""
    budget.pay(value)
    return value if isinstance(value, str) else made_from(str(value), value)


# Operators


def add(budget: WorkBudget, left: Any, right: Any) -> Any:
    budget.pay(left, right)
    if not (isinstance(left, str) and isinstance(right, str)):
        return left + right
    if isinstance(left, SafeText) or isinstance(right, SafeText):
        budget.pay(left, right, times=5)
        return safe(join([escaped(left), escaped(right)]))
    return join([left, right])


def subtract(budget: WorkBudget, left: Any, right: Any) -> Any:
    budget.pay(left, right)
    return left - right


def multiply(budget: WorkBudget, left: Any, right: Any) -> Any:
    for sequence, times in ((left, right), (right, left)):
        if isinstance(times, int) and isinstance(sequence, str | list | tuple):
            budget.pay(sequence, times=times)
            budget.spend(max(times, 0))
            return join([sequence] * times) if isinstance(sequence, str) else sequence * times
    budget.pay(left, right)
    if isinstance(left, int) and isinstance(right, int) and left.bit_length() + right.bit_length() > MAX_INTEGER_BITS:
        raise SecurityError("a number is too large")
    return left * right


def divide(budget: WorkBudget, left: Any, right: Any) -> Any:
    budget.pay(left, right)
    return left / right


def floor_divide(budget: WorkBudget, left: Any, right: Any) -> Any:
    budget.pay(left, right)
    return left // right


def power(budget: WorkBudget, left: Any, right: Any) -> Any:
    budget.pay(left, right)
    if isinstance(left, int) and isinstance(right, int) and left.bit_length() * max(right, 0) > MAX_INTEGER_BITS:
        raise SecurityError("a number is too large")
    return left**right


def modulo(budget: WorkBudget, left: Any, right: Any) -> Any:
    budget.pay(left, right)
    return _percent(budget, left, right) if isinstance(left, str) else left % right


BINARY: dict[str, Callable[[WorkBudget, Any, Any], Any]] = {
    "add": add,
    "sub": subtract,
    "mul": multiply,
    "div": divide,
    "floordiv": floor_divide,
    "mod": modulo,
    "pow": power,
}


def _percent(budget: WorkBudget, layout: str, values: Any) -> str:
    """``layout % values``, one field at a time, so that each part keeps its marks."""
    rest = list(values) if isinstance(values, tuple) else [values]
    is_named = isinstance(values, dict)
    parts, at = [], 0
    while (begin := layout.find("%", at)) >= 0:
        field = _PERCENT.match(layout, begin)
        if field is None:
            raise ValueError("unsupported format")
        name, flags, width, precision, kind = field.groups()
        _check_width(width, precision)
        parts.append(cut(layout, at, begin))
        at = field.end()
        if kind == "%":
            parts.append("%")
            continue
        if name is None and not rest:
            raise TypeError("not enough arguments for format")
        value = values[name] if name is not None else rest.pop(0)
        budget.pay(value)
        plain = f"%{flags}{width}{'' if precision is None else '.' + precision}{kind}"
        whole = kind == "s" and isinstance(value, str) and not width and precision is None
        parts.append(value if whole else made_from(plain % (value,), value))
    if rest and not is_named:
        raise TypeError("not all arguments converted during formatting")
    return join([*parts, cut(layout, at)])


def _check_width(*numbers: str | None) -> None:
    for number in numbers:
        if number == "*" or (number and (len(number) > 4 or int(number) > MAX_WIDTH)):
            raise SecurityError(f"a width of {number[:20]} in a format is not allowed")


def _format(budget: WorkBudget, layout: str, *args: Any, **kwargs: Any) -> str:
    """`str.format` with plain fields: no attributes, no items, no nested fields."""
    parts, position = [], 0
    for literal, name, spec, conversion in string.Formatter().parse(str(layout)):
        parts.append(made_from(literal, layout))
        if name is None:
            continue
        if name == "":
            name, position = str(position), position + 1
        if not name.isdecimal() and not name.isidentifier():
            raise SecurityError(f"the field {name[:40]!r} in a format is not allowed")
        value = args[int(name)] if name.isdecimal() else kwargs[name]
        budget.pay(value)
        parts.append(_formatted(value, spec or "", conversion))
    return join(parts)


def _formatted(value: Any, spec: str, conversion: str | None) -> str:
    if conversion is not None:
        written = ascii(value) if conversion == "a" else repr(value) if conversion == "r" else str(value)
        value = made_from(written, value)
    if not spec:
        return value if isinstance(value, str) else made_from(str(value), value)
    checked = _FORMAT_SPEC.fullmatch(spec)
    if checked is None:
        raise SecurityError(f"the format {spec[:40]!r} is not allowed")
    _check_width(*checked.groups())
    return made_from(format(value, spec), value)


# Methods of texts


def _asked(name: str) -> Callable[..., Any]:
    def ask(budget: WorkBudget, text: str, *args: Any) -> Any:
        return getattr(str(text), name)(*args)

    return ask


def _searched_backwards(name: str) -> Callable[..., Any]:
    # CPython searches backwards by trying every place.
    def search(budget: WorkBudget, text: str, wanted: str, *args: Any) -> Any:
        budget.spend(len(text) * len(wanted) // _SEARCH_PER_UNIT)
        return getattr(str(text), name)(wanted, *args)

    return search


def _changed(name: str) -> Callable[..., Any]:
    def change(budget: WorkBudget, text: str) -> str:
        return mapped(text, getattr(str(text), name)())

    return change


def _stripped(name: str) -> Callable[..., Any]:
    def strip(budget: WorkBudget, text: str, chars: str | None = None) -> str:
        budget.spend(len(text) * len(chars or "") // _SEARCH_PER_UNIT)
        return rest_of(text, getattr(str(text), name)(chars))

    return strip


def _split(budget: WorkBudget, text: str, sep: str | None = None, maxsplit: int = -1) -> list[str]:
    budget.spend(2 * (len(text) // 2 if sep is None else text.count(sep) if sep else 0))
    return pieces_of(text, text.split(sep, maxsplit), sep)


def _rsplit(budget: WorkBudget, text: str, sep: str | None = None, maxsplit: int = -1) -> list[str]:
    budget.spend(len(text) * len(sep or " ") // _SEARCH_PER_UNIT)
    budget.spend(2 * (len(text) // 2 if sep is None else text.count(sep) if sep else 0))
    return pieces_of(text, text.rsplit(sep, maxsplit), sep)


def _splitlines(budget: WorkBudget, text: str, keepends: bool = False) -> list[str]:
    budget.spend(len(text))
    return pieces_of(text, text.splitlines(bool(keepends)), "" if keepends else None)


def _partition(budget: WorkBudget, text: str, sep: str) -> tuple[str, str, str]:
    if not sep:
        raise ValueError("empty separator")
    at = text.find(sep)
    if at < 0:
        return text, "", ""
    return cut(text, 0, at), cut(text, at, at + len(sep)), cut(text, at + len(sep))


def _rpartition(budget: WorkBudget, text: str, sep: str) -> tuple[str, str, str]:
    at = _searched_backwards("rfind")(budget, text, sep)
    if not sep or at < 0:
        return _partition(budget, text, sep)[::-1]
    return cut(text, 0, at), cut(text, at, at + len(sep)), cut(text, at + len(sep))


def _remove_prefix(budget: WorkBudget, text: str, prefix: str) -> str:
    return cut(text, len(prefix)) if text.startswith(prefix) else text


def _remove_suffix(budget: WorkBudget, text: str, suffix: str) -> str:
    return cut(text, 0, len(text) - len(suffix)) if suffix and text.endswith(suffix) else text


def join_items(budget: WorkBudget, separator: str, items: Any) -> str:
    texts = budget.items(items)
    budget.pay(*texts)
    budget.pay(separator, times=len(texts))
    if not all(isinstance(text, str) for text in texts):
        raise TypeError("join takes texts")
    return join(texts, separator)


def replace_text(budget: WorkBudget, text: str, old: str, new: str, count: int = -1) -> str:
    budget.spend(text.count(old))
    budget.spend_text(text.count(old) * len(new))
    return replaced(text, old, new, count)


# fmt: off
_ASKED = (
    "count", "endswith", "find", "index", "isalnum", "isalpha", "isascii", "isdecimal", "isdigit", "islower",
    "isnumeric", "isspace", "istitle", "isupper", "startswith",
)
_CHANGED = ("capitalize", "casefold", "lower", "swapcase", "title", "upper")
# fmt: on
_TEXT_METHODS: dict[str, Callable[..., Any]] = {
    **{name: _asked(name) for name in _ASKED},
    **{name: _searched_backwards(name) for name in ("rfind", "rindex")},
    **{name: _changed(name) for name in _CHANGED},
    **{name: _stripped(name) for name in ("strip", "lstrip", "rstrip")},
    "format": _format,
    "join": join_items,
    "partition": _partition,
    "removeprefix": _remove_prefix,
    "removesuffix": _remove_suffix,
    "replace": replace_text,
    "rpartition": _rpartition,
    "rsplit": _rsplit,
    "split": _split,
    "splitlines": _splitlines,
}


# Methods of lists and dictionaries


def _plain_method(name: str) -> Callable[..., Any]:
    def call(budget: WorkBudget, owner: Any, *args: Any) -> Any:
        return getattr(owner, name)(*args)

    return call


METHODS: dict[type, dict[str, Callable[..., Any]]] = {
    str: _TEXT_METHODS,
    list: {name: _plain_method(name) for name in ("copy", "count", "index")},
    tuple: {name: _plain_method(name) for name in ("count", "index")},
    dict: {name: _plain_method(name) for name in ("copy", "get", "items", "keys", "values")},
}
"""By type: what a template may call on a value, as functions of the budget, the value and the arguments."""


def methods_of(value: Any) -> dict[str, Callable[..., Any]]:
    for kind, methods in METHODS.items():
        if isinstance(value, kind):
            return methods
    return {}


def call_method(budget: WorkBudget, owner: Any, name: str, args: list[Any], kwargs: dict[str, Any]) -> Any:
    """Call a listed method; the arguments are paid for by who calls."""
    method = methods_of(owner)[name]
    if isinstance(owner, dict):  # Views of what is there already.
        budget.spend(len(owner) if name == "copy" else 1)
        return method(budget, owner, *args, **kwargs)
    budget.pay(owner)
    result = method(budget, owner, *args, **kwargs)
    budget.pay(result)
    return result
