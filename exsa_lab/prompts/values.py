"""What a template's program works with besides plain values: scopes, loops, macros, namespaces, functions.

None of these may be written out, computed with, or put into a list, a dictionary or a namespace.
"""

from __future__ import annotations

import datetime
import re
from collections.abc import Callable
from typing import Any

import jinja2
from jinja2 import nodes
from jinja2.exceptions import SecurityError
from jinja2.runtime import Undefined

from exsa_lab.prompts.limits import WorkBudget

MAX_RANGE = 100_000
NAMESPACE_COST = 64
_DATE_LAYOUT = re.compile(r"(?:[^%]|%-?[a-zA-Z%])*")


class Refused(jinja2.TemplateError):
    """The template called raise_exception."""


class Scope:
    """Variables of a block, and the scope around it."""

    __slots__ = ("parent", "variables")

    def __init__(self, parent: Scope | None) -> None:
        self.parent = parent
        self.variables: dict[str, Any] = {}


class Inner:
    """Base of them."""

    is_callable = False

    def attribute(self, name: str) -> tuple[Any] | None:
        """Return the attribute of this name, in a tuple, None where there is none."""
        return None


class Namespace(Inner):
    """``namespace(...)``: what a template may assign attributes to."""

    def __init__(self, attributes: dict[str, Any]) -> None:
        self.attributes = attributes

    def attribute(self, name: str) -> tuple[Any] | None:
        return (self.attributes[name],) if name in self.attributes else None


class Method(Inner):
    """``value.name``, not called yet."""

    is_callable = True

    def __init__(self, owner: Any, name: str) -> None:
        self.owner = owner
        self.name = name


class Function(Inner):
    """A function given to templates; it is called with the budget first."""

    is_callable = True

    def __init__(self, call: Callable[..., Any]) -> None:
        self.call = call


class LoopVariable(Inner):
    """The variable ``loop``; callable in a recursive loop."""

    def __init__(self, items: list[Any], depth0: int, node: nodes.For, scope: Scope) -> None:
        self.items = items
        self.index0 = 0
        self.depth0 = depth0
        self.node = node
        self.scope = scope
        self.is_callable = node.recursive
        self._last_seen: list[Any] | None = None

    def attribute(self, name: str) -> tuple[Any] | None:
        at, num = self.index0, len(self.items)
        if name in ("cycle", "changed"):
            return (Method(self, name),)
        if name in ("previtem", "nextitem"):
            other = at - 1 if name == "previtem" else at + 1
            return (self.items[other],) if 0 <= other < num else (Undefined("there is no such item"),)
        numbers = {
            "index": at + 1,
            "index0": at,
            "revindex": num - at,
            "revindex0": num - at - 1,
            "first": at == 0,
            "last": at == num - 1,
            "length": num,
            "depth": self.depth0 + 1,
            "depth0": self.depth0,
        }
        return (numbers[name],) if name in numbers else None

    def call(self, name: str, args: list[Any]) -> Any:
        if name == "cycle":
            if not args:
                raise TypeError("no items for cycling given")
            return args[self.index0 % len(args)]
        is_changed, self._last_seen = args != self._last_seen, args
        return is_changed


class Macro(Inner):
    """A macro, or the body of a call block."""

    is_callable = True

    def __init__(self, node: nodes.Macro | nodes.CallBlock, scope: Scope) -> None:
        self.node = node
        self.scope = scope
        num_required = len(node.args) - len(node.defaults)
        self.parameters: list[tuple[str, nodes.Expr | None]] = [
            (arg.name, node.defaults[index - num_required] if index >= num_required else None)
            for index, arg in enumerate(node.args)
        ]

    def bind(self, args: list[Any], kwargs: dict[str, Any]) -> dict[str, Any]:
        """Return the variables that a call gives values to."""
        names = [name for name, _ in self.parameters]
        used = {name.name for name in self.node.find_all(nodes.Name)}
        given = dict(zip(names, args, strict=False))
        rest = dict(kwargs)
        for name in names:
            if name in rest:
                if name in given:
                    raise TypeError(f"macro got multiple values for argument {name!r}")
                given[name] = rest.pop(name)
        if "caller" in used:
            given.setdefault("caller", rest.pop("caller", None) or Undefined("No caller defined", name="caller"))
        if "varargs" in used:
            given["varargs"] = tuple(args[len(names) :])
        elif len(args) > len(names):
            raise TypeError(f"macro takes not more than {len(names)} arguments")
        if "kwargs" in used:
            given["kwargs"] = rest
        elif rest:
            raise TypeError(f"macro takes no keyword argument {next(iter(rest))!r}")
        return given


# Functions


def _raise_exception(budget: WorkBudget, message: object = "") -> None:
    budget.pay(message)
    raise Refused(str(message))


def _strftime_now(budget: WorkBudget, layout: str) -> str:
    if len(layout) > 200 or not _DATE_LAYOUT.fullmatch(layout):
        raise SecurityError("the layout of a date is not allowed")
    return datetime.datetime.now().strftime(layout)


def _range(budget: WorkBudget, *limits: int) -> range:
    numbers = range(*limits)
    if max(map(abs, limits), default=0) > 1 << 60 or len(numbers) > MAX_RANGE:
        raise OverflowError(f"range too big, maximum size for range is {MAX_RANGE}")
    return numbers


def _namespace(budget: WorkBudget, *given: Any, **attributes: Any) -> Namespace:
    budget.spend(NAMESPACE_COST)
    for values in attributes.values():
        budget.pay(values)
    return Namespace(dict(*given, **attributes))


def _dict(budget: WorkBudget, *given: Any, **items: Any) -> dict[Any, Any]:
    return dict(*given, **items)


GLOBALS: dict[str, Function] = {
    "raise_exception": Function(_raise_exception),
    "strftime_now": Function(_strftime_now),
    "range": Function(_range),
    "namespace": Function(_namespace),
    "dict": Function(_dict),
}
