"""The filters and tests a template may use, by name. Each pays before it computes; no other exists."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any, Protocol

from jinja2.exceptions import SecurityError
from jinja2.filters import FILTERS as JINJA_FILTERS
from jinja2.runtime import Undefined
from jinja2.tests import TESTS as JINJA_TESTS

from exsa_lab.prompts.limits import WorkBudget
from exsa_lab.prompts.marked import cut, escaped, join, made_from, mapped, pieces_of, rest_of, safe
from exsa_lab.prompts.operations import join_items, modulo, replace_text, to_text

_MAX_PLACES = 100
"""Most places `round` may round to."""
_MAX_INDENT = 1_000
_WORD = re.compile(r"\w+")


class Run(Protocol):
    """What filters need of the rendering they are used in."""

    budget: WorkBudget

    def attribute_of(self, value: Any, path: str | int) -> Any:
        """Look up ``a.b`` or an index in a value."""

    def undefined(self, hint: str) -> Undefined: ...

    def filtered(self, name: str, value: Any, args: list[Any], kwargs: dict[str, Any]) -> Any: ...

    def tested(self, name: str, value: Any, args: list[Any], kwargs: dict[str, Any]) -> bool: ...


Filter = Callable[..., Any]


# Texts


def _text_filter(name: str) -> Filter:
    def change(run: Run, value: Any) -> str:
        text = to_text(run.budget, value)
        return mapped(text, str(JINJA_FILTERS[name](str(text))))

    return change


def _escape(run: Run, value: Any) -> str:
    run.budget.pay(value, times=5)
    return safe(escaped(to_text(run.budget, value)))


def _indent(run: Run, value: Any, width: int | str = 4, first: bool = False, blank: bool = False) -> str:
    text = to_text(run.budget, value)
    if isinstance(width, int):
        width = " " * _bounded(width, 0, _MAX_INDENT, "an indent")
    run.budget.spend(len(text))
    whole = join([text, "\n"])  # As jinja2 does it, so that a last empty line counts.
    lines = pieces_of(whole, whole.splitlines(), None)
    run.budget.pay(width, times=len(lines) + 1)
    if blank:
        indented = join(lines, join(["\n", width]))
    else:
        rest = [join([width, line]) if line else line for line in lines[1:]]
        indented = join(lines[:1] + rest, "\n")
    return join([width, indented]) if first else indented


def _join(run: Run, value: Any, d: str = "", attribute: str | int | None = None) -> str:
    items = run.budget.items(value)
    if attribute is not None:
        items = [run.attribute_of(item, attribute) for item in items]
    return join_items(run.budget, to_text(run.budget, d), [to_text(run.budget, item) for item in items])


def _replace(run: Run, value: Any, old: str, new: str, count: int | None = None) -> str:
    text, old, new = (to_text(run.budget, part) for part in (value, old, new))
    return replace_text(run.budget, text, old, new, -1 if count is None else count)


def _trim(run: Run, value: Any, chars: str | None = None) -> str:
    text = to_text(run.budget, value)
    run.budget.spend(len(text) * len(chars or "") // 64)
    return rest_of(text, text.strip(chars))


def _tojson(
    run: Run,
    value: Any,
    ensure_ascii: bool = False,
    indent: int | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    # Unlike jinja2's own, not escaped for HTML: this is what transformers gives chat templates.
    width = _bounded(indent or 0, 0, 16, "an indent")
    between = max((len(part) for part in separators or ("",)), default=0)
    run.budget.pay(value, times=12 if ensure_ascii else 6)  # The longest escapes.
    run.budget.spend(_num_parts(value) * (between + 1) + _indent_chars(value) * width)
    return made_from(
        json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys), value
    )


def _num_parts(value: Any) -> int:
    if isinstance(value, dict):
        return 1 + sum(map(_num_parts, value.values()))
    return 1 + sum(map(_num_parts, value)) if isinstance(value, list | tuple) else 1


def _indent_chars(value: Any, depth: int = 1) -> int:
    """Levels of indentation over all lines."""
    if isinstance(value, dict):
        value = list(value.values())
    return sum(depth + _indent_chars(item, depth + 1) for item in value) + 1 if isinstance(value, list | tuple) else 0


def _from_json(run: Run, value: Any) -> Any:
    text = to_text(run.budget, value)
    run.budget.spend(len(text))
    return _marked_like(json.loads(text), text)


def _marked_like(value: Any, source: str) -> Any:
    if isinstance(value, str):
        return made_from(value, source)
    if isinstance(value, dict):
        return {made_from(key, source): _marked_like(item, source) for key, item in value.items()}
    return [_marked_like(item, source) for item in value] if isinstance(value, list) else value


# Numbers


def _abs(run: Run, value: Any) -> Any:
    return abs(value)


def _round(run: Run, value: Any, precision: int = 0, method: str = "common") -> Any:
    _bounded(precision, -_MAX_PLACES, _MAX_PLACES, "a precision")
    if isinstance(value, int) and value.bit_length() > 1_000:
        raise SecurityError("a number is too large")
    return JINJA_FILTERS["round"](value, precision, method)


def _float(run: Run, value: Any, default: float = 0.0) -> Any:
    return JINJA_FILTERS["float"](value, default)


def _int(run: Run, value: Any, default: int = 0, base: int = 10) -> Any:
    if isinstance(value, str):
        if len(value) > 1_000:
            return default
        try:
            return int(value, base)
        except ValueError:
            pass
    try:
        return int(float(value)) if isinstance(value, str) else int(value)
    except (TypeError, ValueError, OverflowError):
        return default


def _bounded(value: Any, low: int, high: int, what: str) -> int:
    if not isinstance(value, int) or not low <= value <= high:
        raise SecurityError(f"{what} must be from {low} to {high}")
    return value


# Collections


def _length(run: Run, value: Any) -> int:
    return len(value)


def _default(run: Run, value: Any, default_value: Any = "", boolean: bool = False) -> Any:
    return default_value if isinstance(value, Undefined) or (boolean and not value) else value


def _first(run: Run, value: Any) -> Any:
    items = run.budget.items(value)
    return items[0] if items else run.undefined("No first item, sequence was empty.")


def _last(run: Run, value: Any) -> Any:
    items = run.budget.items(value)
    return items[-1] if items else run.undefined("No last item, sequence was empty.")


def _items(run: Run, value: Any) -> list[Any]:
    if isinstance(value, Undefined):
        return []
    if not isinstance(value, dict):
        raise TypeError("Can only get item pairs from a mapping.")
    return list(value.items())


def _list(run: Run, value: Any) -> list[Any]:
    return run.budget.items(value)


def _reverse(run: Run, value: Any) -> Any:
    return cut(value, None, None, -1) if isinstance(value, str) else run.budget.items(value)[::-1]


def _key(run: Run, attribute: str | int | None, case_sensitive: bool) -> Callable[[Any], Any]:
    def key(item: Any) -> Any:
        found = item if attribute is None else run.attribute_of(item, attribute)
        run.budget.pay(found)
        return found.lower() if isinstance(found, str) and not case_sensitive else found

    return key


def _sort(
    run: Run, value: Any, reverse: bool = False, case_sensitive: bool = False, attribute: str | int | None = None
) -> list[Any]:
    names = attribute.split(",") if isinstance(attribute, str) else [attribute]
    keys = [_key(run, name, case_sensitive) for name in names]
    items = run.budget.items(value)
    run.budget.pay(items, times=max(1, len(items).bit_length()))
    return sorted(items, key=lambda item: [key(item) for key in keys], reverse=reverse)


def _dictsort(run: Run, value: Any, case_sensitive: bool = False, by: str = "key", reverse: bool = False) -> list[Any]:
    if by not in ("key", "value"):
        raise ValueError('You can only sort by either "key" or "value"')
    key = _key(run, None, case_sensitive)
    run.budget.pay(value, times=max(1, len(value).bit_length()))
    return sorted(value.items(), key=lambda pair: key(pair[by == "value"]), reverse=reverse)


def _unique(run: Run, value: Any, case_sensitive: bool = False, attribute: str | int | None = None) -> list[Any]:
    key = _key(run, attribute, case_sensitive)
    found: dict[Any, Any] = {}
    for item in run.budget.items(value):
        found.setdefault(key(item), item)
    return list(found.values())


def _extreme(choose: Callable[..., Any]) -> Filter:
    def find(run: Run, value: Any, case_sensitive: bool = False, attribute: str | int | None = None) -> Any:
        items = run.budget.items(value)
        if not items:
            return run.undefined("No aggregated item, sequence was empty.")
        return choose(items, key=_key(run, attribute, case_sensitive))

    return find


def _sum(run: Run, value: Any, attribute: str | int | None = None, start: Any = 0) -> Any:
    total = start
    for item in run.budget.items(value):
        part = item if attribute is None else run.attribute_of(item, attribute)
        if not isinstance(part, int | float) or not isinstance(total, int | float):
            raise TypeError("sum takes numbers")
        total += part
        run.budget.pay(total)
    return total


def _items_or_none(run: Run, value: Any) -> list[Any]:
    """Items for `map` and its kin, which jinja2 begins only when somebody asks for theirs: nobody asks after None's."""
    return [] if value is None else run.budget.items(value)


def _map(
    run: Run, value: Any, *args: Any, attribute: str | int | None = None, default: Any = None, **kwargs: Any
) -> Any:
    items = _items_or_none(run, value)
    if args:
        name, *rest = args
        return [run.filtered(str(name), item, rest, kwargs) for item in items]
    if attribute is None:
        raise TypeError("map requires a filter argument")
    found = [run.attribute_of(item, attribute) for item in items]
    return [default if default is not None and isinstance(item, Undefined) else item for item in found]


def _chosen(wanted: bool, by_attribute: bool) -> Filter:
    def choose(run: Run, value: Any, *args: Any, **kwargs: Any) -> list[Any]:
        rest = list(args)
        attribute = rest.pop(0) if by_attribute else None
        name = rest.pop(0) if rest else None

        def holds(item: Any) -> bool:
            found = item if attribute is None else run.attribute_of(item, attribute)
            return bool(found) if name is None else run.tested(str(name), found, rest, kwargs)

        return [item for item in _items_or_none(run, value) if holds(item) is wanted]

    return choose


FILTERS: dict[str, Filter] = {
    **{name: _text_filter(name) for name in ("capitalize", "lower", "title", "upper")},
    "abs": _abs,
    "count": _length,
    "d": _default,
    "default": _default,
    "dictsort": _dictsort,
    "e": _escape,
    "escape": _escape,
    "first": _first,
    "float": _float,
    "format": lambda run, value, *args, **kwargs: modulo(run.budget, to_text(run.budget, value), kwargs or args),
    "from_json": _from_json,
    "indent": _indent,
    "int": _int,
    "items": _items,
    "join": _join,
    "last": _last,
    "length": _length,
    "list": _list,
    "map": _map,
    "max": _extreme(max),
    "min": _extreme(min),
    "reject": _chosen(False, by_attribute=False),
    "rejectattr": _chosen(False, by_attribute=True),
    "replace": _replace,
    "reverse": _reverse,
    "round": _round,
    "safe": lambda run, value: safe(to_text(run.budget, value)),
    "select": _chosen(True, by_attribute=False),
    "selectattr": _chosen(True, by_attribute=True),
    "sort": _sort,
    "string": lambda run, value: to_text(run.budget, value),
    "sum": _sum,
    "tojson": _tojson,
    "trim": _trim,
    "unique": _unique,
    "upper": _text_filter("upper"),
    "wordcount": lambda run, value: len(_WORD.findall(to_text(run.budget, value))),
}

# fmt: off
_TESTS = (
    "!=", "<", "<=", "==", ">", ">=", "boolean", "defined", "divisibleby", "eq", "equalto", "escaped", "even", "false",
    "float", "ge", "greaterthan", "gt", "in", "integer", "iterable", "le", "lessthan", "lower", "lt", "mapping", "ne",
    "none", "number", "odd", "sameas", "sequence", "string", "true", "undefined", "upper",
)
# fmt: on
TESTS: dict[str, Any] = {name: JINJA_TESTS[name] for name in _TESTS}
# fmt: off
SHALLOW = frozenset({
    "count", "d", "default", "first", "items", "last", "length", "list", "map", "reject", "rejectattr", "reverse",
    "select", "selectattr",
})
"""Filters that do not look inside the items of a value and make nothing larger than it: they pay for its items only."""
KIND_TESTS = frozenset({
    "boolean", "callable", "defined", "false", "iterable", "mapping", "none", "number", "sequence", "string", "true",
    "undefined",
})
"""Tests of what a value is, not of what is in it; macros, loops and namespaces may be asked, too."""
# fmt: on
