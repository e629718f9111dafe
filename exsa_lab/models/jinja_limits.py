"""A jinja2 sandbox whose templates can only do a bounded amount of work.

jinja2's own sandbox guards what a template may reach, not how long it runs or how much it builds: nested loops,
``{% set x = x ~ x %}`` or ``"a" * 10**10`` hang or exhaust the process. Here every rendering has a budget and pays
from it for each step that could multiply:

1. a loop pays for each iteration, a call (macros included) for each call;
2. output pays for its characters;
3. every new value (literals, ``~``, operators, slices, filters, calls) and every value that is searched or
   compared pays for its size, shared parts counted each time;
4. operations whose result is much larger than their operands pay before they run, or are refused.

So time and memory are bounded by the budget, whatever the template. Filters that chat templates have no use for
are left out rather than guarded.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from jinja2 import nodes
from jinja2.exceptions import SecurityError
from jinja2.filters import FILTERS
from jinja2.runtime import Context
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.utils import pass_context

_TEXT_PER_UNIT = 32
"""Characters of an intermediate text that cost one unit: copying them is cheap."""
_MAX_INTEGER_BITS = 4_096
# fmt: off
_SAFE_FILTERS = (
    "abs", "capitalize", "count", "d", "default", "dictsort", "e", "escape", "first", "float", "int", "items", "last",
    "length", "list", "lower", "map", "max", "min", "reject", "rejectattr", "reverse", "round", "safe", "select",
    "selectattr", "sort", "string", "title", "trim", "unique", "upper", "wordcount",
)
_TEXT_METHODS = frozenset({
    "capitalize", "casefold", "count", "endswith", "find", "index", "isalnum", "isalpha", "isascii", "isdecimal",
    "isdigit", "islower", "isnumeric", "isspace", "istitle", "isupper", "join", "lower", "lstrip", "partition",
    "removeprefix", "removesuffix", "replace", "rfind", "rindex", "rpartition", "rsplit", "rstrip", "split",
    "splitlines", "startswith", "strip", "swapcase", "title", "upper",
})
# fmt: on
_METHODS: dict[type, frozenset[str]] = {
    str: _TEXT_METHODS,
    list: frozenset({"count", "index"}),
    tuple: frozenset({"count", "index"}),
    dict: frozenset({"get", "items", "keys", "values"}),
    int: frozenset(),
    float: frozenset(),
}
"""Methods of built-in values a template may call: those whose result is no larger than what pays for it."""


class WorkExceeded(Exception):
    """The rendering spent its whole budget."""


class _Budget:
    __slots__ = ("left",)

    def __init__(self, units: int) -> None:
        self.left = units


_budget: ContextVar[_Budget | None] = ContextVar("budget", default=None)


@contextmanager
def work_budget(units: int) -> Iterator[None]:
    """Give the renderings inside this block ``units`` of work; beyond them WorkExceeded is raised."""
    token = _budget.set(_Budget(units))
    try:
        yield
    finally:
        _budget.reset(token)


def _spend(units: int) -> None:
    budget = _budget.get()
    if budget is None:
        raise WorkExceeded("no work budget is set")
    budget.left -= units
    if budget.left < 0:
        raise WorkExceeded


# Costs. Each is a filter that the environment wraps around a node; pass_context keeps jinja2 from running it
# at compile time.


@pass_context
def _pay_each(_context: Context, items: Iterable[Any]) -> Iterator[Any]:
    for item in items:
        _spend(4)
        yield item


@pass_context
def _pay_output(_context: Context, value: Any) -> Any:
    text = value if isinstance(value, str) else _sized(value)
    _spend(1 + (len(text) if isinstance(text, str) else 0))
    return value


@pass_context
def _pay_size(_context: Context, value: Any) -> Any:
    return _sized(value)


def _sized(value: Any) -> Any:
    """Pay for the size of a value, parts that appear several times each time."""
    stack = [value]
    while stack:
        item = stack.pop()
        _spend(1)
        if isinstance(item, str):
            _spend(len(item) // _TEXT_PER_UNIT)
        elif isinstance(item, list | tuple | set):
            _spend(len(item))
            stack.extend(item)
        elif isinstance(item, dict):
            _spend(2 * len(item))
            stack.extend(item.keys())
            stack.extend(item.values())
    return value


# Operations that grow: they pay first.


def _multiply(left: Any, right: Any) -> Any:
    for sequence, times in ((left, right), (right, left)):
        if isinstance(times, int) and isinstance(sequence, str | list | tuple):
            _spend(max(times, 0) * len(sequence))
            return sequence * times
    _check_integers(left, right)
    return left * right


def _power(left: Any, right: Any) -> Any:
    if isinstance(left, int) and isinstance(right, int) and left.bit_length() * max(right, 0) > _MAX_INTEGER_BITS:
        raise SecurityError("the power is too large")
    return left**right


def _modulo(left: Any, right: Any) -> Any:
    if isinstance(left, str) and re.search(r"%[^a-zA-Z%]*[\d*]", left):
        raise SecurityError("a width in a % format is not allowed")
    return left % right


def _check_integers(left: Any, right: Any) -> None:
    if isinstance(left, int) and isinstance(right, int) and left.bit_length() + right.bit_length() > _MAX_INTEGER_BITS:
        raise SecurityError("the number is too large")


def _replace(text: str, old: str, new: str, count: int = -1) -> str:
    _spend(text.count(old) * len(new) // _TEXT_PER_UNIT)
    return text.replace(old, new, count)


def _join(separator: str, items: Iterable[Any]) -> str:
    texts = []
    for item in items:
        texts.append(str(_sized(item)))
        _spend(1 + len(separator) // _TEXT_PER_UNIT)
    return separator.join(texts)


def _join_filter(items: Iterable[Any], d: str = "", attribute: str | int | None = None) -> str:
    if attribute is not None:
        raise SecurityError("join with an attribute is not allowed")
    return _join(str(d), items)


def _replace_filter(text: Any, old: str, new: str, count: int = -1) -> str:
    return _replace(str(_sized(text)), str(old), str(new), count)


def _indent_filter(text: Any, width: int | str = 4, first: bool = False, blank: bool = False) -> str:
    lines = str(_sized(text))
    padding = width if isinstance(width, str) else " " * min(max(int(width), 0), 1_000)
    _spend((lines.count("\n") + 1) * len(padding) // _TEXT_PER_UNIT)
    return str(FILTERS["indent"](lines, padding, first, blank))


def _tojson_filter(
    value: Any,
    ensure_ascii: bool = False,
    indent: int | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    if indent is not None and not 0 <= indent <= 16:
        raise SecurityError("tojson takes an indent of 0 to 16")
    # Unlike jinja2's own, not escaped for HTML: this is what transformers gives chat templates.
    return json.dumps(
        _sized(value), ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys
    )


class BoundedEnvironment(ImmutableSandboxedEnvironment):
    """The sandbox of chat templates; render inside `work_budget`."""

    intercepted_binops = frozenset({"+", "*", "**", "%"})

    def __init__(self, **options: Any) -> None:
        super().__init__(optimized=False, **options)
        self.filters = {name: FILTERS[name] for name in _SAFE_FILTERS}
        self.filters |= {
            "join": _join_filter,
            "replace": _replace_filter,
            "indent": _indent_filter,
            "tojson": _tojson_filter,
            "_pay_each": _pay_each,
            "_pay_output": _pay_output,
            "_pay_size": _pay_size,
        }
        for name in ("lipsum", "cycler", "joiner"):
            del self.globals[name]

    def _parse(self, source: str, name: str | None, filename: str | None) -> nodes.Template:
        tree: nodes.Template = _add_costs(super()._parse(source, name, filename))
        return tree

    def wrap_str_format(self, _value: Any) -> None:
        """Leave str.format as it is, for `call` to refuse: a width in its format makes text of any size."""

    def call(self, context: Context, function: Any, *args: Any, **kwargs: Any) -> Any:
        _spend(8)
        owner, name = getattr(function, "__self__", None), getattr(function, "__name__", "")
        for kind, allowed in _METHODS.items():
            if isinstance(owner, kind):
                if name not in allowed:
                    raise SecurityError(f"the method {name!r} is not allowed")
                _sized(owner)
        if isinstance(owner, str) and name in ("replace", "join"):
            return _sized((_replace if name == "replace" else _join)(owner, *args, **kwargs))
        return _sized(super().call(context, function, *args, **kwargs))

    def call_binop(self, _context: Context, operator: str, left: Any, right: Any) -> Any:
        if operator == "+":
            return _sized(left + right)
        operation = {"*": _multiply, "**": _power, "%": _modulo}[operator]
        return _sized(operation(left, right))


def _add_costs(node: Any) -> Any:  # Any: jinja2's nodes declare their fields in a way types cannot follow.
    """Wrap the nodes of a template that could multiply in the filters that pay for them."""
    for name, value in node.iter_fields():
        if isinstance(value, list):
            setattr(node, name, [_add_costs(item) if isinstance(item, nodes.Node) else item for item in value])
        elif isinstance(value, nodes.Node):
            setattr(node, name, _add_costs(value))
    if isinstance(node, nodes.For):
        node.iter = _wrapped(node.iter, "_pay_each")
    elif isinstance(node, nodes.Output):
        node.nodes = [_wrapped(child, "_pay_output") for child in node.nodes]
    elif isinstance(node, nodes.Compare):
        node.expr = _wrapped(node.expr, "_pay_size")
        for operand in node.ops:
            operand.expr = _wrapped(operand.expr, "_pay_size")
    elif (
        isinstance(node, nodes.Filter | nodes.Test) and node.node is not None
    ):  # None: a filter block; its output pays.
        node.node = _wrapped(node.node, "_pay_size")
    return _wrapped(node, "_pay_size") if _makes_value(node) else node


def _makes_value(node: nodes.Node) -> bool:
    if isinstance(node, nodes.Filter):
        return node.node is not None
    if isinstance(node, nodes.Getitem):
        return isinstance(node.arg, nodes.Slice)
    if isinstance(node, nodes.List | nodes.Tuple | nodes.Dict):
        return getattr(node, "ctx", "load") == "load"
    return isinstance(node, nodes.Concat)


def _wrapped(node: Any, filter_name: str) -> nodes.Filter:
    return nodes.Filter(node, filter_name, [], [], None, None, lineno=node.lineno, environment=node.environment)
