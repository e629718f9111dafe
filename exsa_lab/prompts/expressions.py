"""The expressions of a chat template: what they are worth, each value paid for before it is made.

`exsa_lab.prompts.evaluate` runs the statements around them.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any

from jinja2 import Environment, nodes
from jinja2.exceptions import SecurityError
from jinja2.runtime import Undefined

from exsa_lab.prompts.filters import FILTERS, KIND_TESTS, SHALLOW, TESTS
from exsa_lab.prompts.limits import STEP, WorkBudget
from exsa_lab.prompts.marked import cut, join
from exsa_lab.prompts.operations import BINARY, call_method, methods_of, to_text
from exsa_lab.prompts.values import GLOBALS, Function, Inner, LoopVariable, Macro, Method, Scope

MAX_CALLS = 60
"""Deepest nesting of macros."""
_COMPARE: dict[str, Callable[[Any, Any], Any]] = {
    "eq": lambda a, b: a == b,
    "ne": lambda a, b: a != b,
    "gt": lambda a, b: a > b,
    "gteq": lambda a, b: a >= b,
    "lt": lambda a, b: a < b,
    "lteq": lambda a, b: a <= b,
    "in": lambda a, b: a in b,
    "notin": lambda a, b: a not in b,
}
_ENVIRONMENT = Environment(autoescape=False)


class Expressions(ABC):
    """Evaluates expressions with the variables ``values``; macros and loops, which it may call, are run elsewhere."""

    def __init__(self, budget: WorkBudget, values: dict[str, Any]) -> None:
        self.budget = budget
        self._values = values
        self._num_calls = 0

    def evaluate(self, node: Any, scope: Scope) -> Any:
        self.budget.spend(STEP)
        expression = _EXPRESSIONS.get(type(node))
        if expression is None:
            raise SecurityError(f"{type(node).__name__.lower()} is not allowed in a chat template")
        return expression(self, node, scope)

    @abstractmethod
    def _call_macro(self, macro: Macro, args: list[Any], kwargs: dict[str, Any]) -> str: ...

    @abstractmethod
    def _call_loop(self, loop: LoopVariable, items: Any) -> str: ...

    # Expressions

    def _const(self, node: nodes.Const, scope: Scope) -> Any:
        self.budget.pay(node.value)
        return node.value

    def _template_data(self, node: nodes.TemplateData, scope: Scope) -> str:
        return node.data

    def _name(self, node: nodes.Name, scope: Scope) -> Any:
        return self._lookup(node.name, scope)

    def _lookup(self, name: str, scope: Scope) -> Any:
        around: Scope | None = scope
        while around is not None:
            if name in around.variables:
                return around.variables[name]
            around = around.parent
        if name in self._values:
            return self._values[name]
        return GLOBALS[name] if name in GLOBALS else _ENVIRONMENT.undefined(name=name)

    def _list(self, node: nodes.List | nodes.Tuple, scope: Scope) -> Any:
        items = [self.evaluate(item, scope) for item in node.items]
        self.budget.pay(items)
        return items if isinstance(node, nodes.List) else tuple(items)

    def _dict(self, node: nodes.Dict, scope: Scope) -> dict[Any, Any]:
        pairs = [(self.evaluate(pair.key, scope), self.evaluate(pair.value, scope)) for pair in node.items]
        self.budget.pay(pairs)
        return dict(pairs)

    def _binary(self, node: nodes.BinExpr, scope: Scope) -> Any:
        left, right = self.evaluate(node.left, scope), self.evaluate(node.right, scope)
        result = BINARY[type(node).__name__.lower()](self.budget, left, right)
        self.budget.pay(result)
        return result

    def _and(self, node: nodes.And, scope: Scope) -> Any:
        return self.evaluate(node.left, scope) and self.evaluate(node.right, scope)

    def _or(self, node: nodes.Or, scope: Scope) -> Any:
        return self.evaluate(node.left, scope) or self.evaluate(node.right, scope)

    def _not(self, node: nodes.Not, scope: Scope) -> bool:
        return not self.evaluate(node.node, scope)

    def _negative(self, node: nodes.Neg, scope: Scope) -> Any:
        value = self.evaluate(node.node, scope)
        self.budget.pay(value)
        return -value

    def _positive(self, node: nodes.Pos, scope: Scope) -> Any:
        value = self.evaluate(node.node, scope)
        self.budget.pay(value)
        return +value

    def _concat(self, node: nodes.Concat, scope: Scope) -> str:
        return join([to_text(self.budget, self.evaluate(part, scope)) for part in node.nodes])

    def _compare(self, node: nodes.Compare, scope: Scope) -> Any:
        left, result = self.evaluate(node.expr, scope), True
        for operand in node.ops:
            right = self.evaluate(operand.expr, scope)
            self.budget.pay(left, right)
            if not (result := _COMPARE[operand.op](left, right)):
                return result
            left = right
        return result

    def _condition(self, node: nodes.CondExpr, scope: Scope) -> Any:
        if self.evaluate(node.test, scope):
            return self.evaluate(node.expr1, scope)
        if node.expr2 is not None:
            return self.evaluate(node.expr2, scope)
        return self.undefined("the inline if-expression evaluated to false and no else section was defined.")

    def _filter(self, node: nodes.Filter, scope: Scope, text: str | None = None) -> Any:
        """Apply a filter; ``text`` is that of the block around, which stands in for the innermost value."""
        if isinstance(node.node, nodes.Filter):
            value = self._filter(node.node, scope, text)
        else:
            value = text if node.node is None else self.evaluate(node.node, scope)
        return self.filtered(node.name, value, *self._arguments(node, scope))

    def _test(self, node: nodes.Test, scope: Scope) -> bool:
        return self.tested(node.name, self.evaluate(node.node, scope), *self._arguments(node, scope))

    def _arguments(self, node: Any, scope: Scope) -> tuple[list[Any], dict[str, Any]]:
        args = [self.evaluate(arg, scope) for arg in node.args]
        kwargs = {pair.key: self.evaluate(pair.value, scope) for pair in node.kwargs}
        if node.dyn_args is not None:
            args += self.budget.items(self.evaluate(node.dyn_args, scope))
        if node.dyn_kwargs is not None:
            more = self.evaluate(node.dyn_kwargs, scope)
            self.budget.pay(more)
            kwargs |= {str(key): value for key, value in more.items()}
        return args, kwargs

    def _getattr(self, node: nodes.Getattr, scope: Scope) -> Any:
        return self._attribute(self.evaluate(node.node, scope), node.attr, then_item=True)

    def _getitem(self, node: nodes.Getitem, scope: Scope) -> Any:
        value = self.evaluate(node.node, scope)
        if isinstance(node.arg, nodes.Slice):
            parts = (node.arg.start, node.arg.stop, node.arg.step)
            start, stop, step = (None if part is None else self.evaluate(part, scope) for part in parts)
            self.budget.pay(start, stop, step)
            if isinstance(value, str):
                self.budget.spend_text(len(value))
                return cut(value, start, stop, step)
            self.budget.spend(len(value) if isinstance(value, list | tuple) else 0)
            return value[start:stop:step]
        return self._item(value, self.evaluate(node.arg, scope))

    def _call(self, node: nodes.Call, scope: Scope, caller: Macro | None = None) -> Any:
        function = self.evaluate(node.node, scope)
        args, kwargs = self._arguments(node, scope)
        if caller is not None:
            kwargs["caller"] = caller
        return self._called(function, args, kwargs)

    # Values

    def undefined(self, hint: str, *, name: str | None = None) -> Undefined:
        return _ENVIRONMENT.undefined(hint, name=name)

    def _attribute(self, value: Any, name: str, *, then_item: bool) -> Any:
        if isinstance(value, Undefined):
            value._fail_with_undefined_error()
        if isinstance(value, Inner):
            found = value.attribute(name)
            return self.undefined(f"a {type(value).__name__} has no {name!r}") if found is None else found[0]
        if name in methods_of(value):
            return Method(value, name)
        if then_item and isinstance(value, dict) and name in value and not hasattr(dict, name):
            return value[name]
        if hasattr(value, name):  # Python's own, of which a template may use what is listed.
            return _ENVIRONMENT.undefined(
                f"access to attribute {name!r} of {type(value).__name__!r} object is unsafe.",
                name=name,
                obj=value,
                exc=SecurityError,
            )
        return _ENVIRONMENT.undefined(obj=value, name=name)

    def _item(self, value: Any, key: Any) -> Any:
        self.budget.pay(key)
        if isinstance(value, Undefined):
            value._fail_with_undefined_error()
        try:
            if isinstance(value, dict):
                return value[key]
            if isinstance(key, int) and isinstance(value, str):
                at = range(len(value))[key]
                return cut(value, at, at + 1)
            if isinstance(key, int) and isinstance(value, list | tuple | range):
                return value[key]
        except (KeyError, IndexError, TypeError):
            pass
        if isinstance(key, str):
            return self._attribute(value, str(key), then_item=False)
        return _ENVIRONMENT.undefined(obj=value, name=key)

    def attribute_of(self, value: Any, path: str | int) -> Any:
        """See `exsa_lab.prompts.filters.Run`."""
        parts = path.split(".") if isinstance(path, str) else [path]
        for part in parts:
            self.budget.spend(STEP)
            value = self._item(value, int(part) if isinstance(part, str) and part.isdecimal() else part)
        return value

    def filtered(self, name: str, value: Any, args: list[Any], kwargs: dict[str, Any]) -> Any:
        """See `exsa_lab.prompts.filters.Run`."""
        function = FILTERS.get(name)
        if function is None:
            raise SecurityError(f"the filter {name[:40]!r} is not known")
        self.budget.spend(STEP)
        self.budget.pay(*args, *kwargs.values())
        if name in SHALLOW:
            return function(self, value, *args, **kwargs)
        self.budget.pay(value)
        result = function(self, value, *args, **kwargs)
        self.budget.pay(result)
        return result

    def tested(self, name: str, value: Any, args: list[Any], kwargs: dict[str, Any]) -> bool:
        """See `exsa_lab.prompts.filters.Run`."""
        self.budget.spend(STEP)
        if name == "callable":
            return isinstance(value, Inner) and value.is_callable
        function = TESTS.get(name)
        if function is None:
            raise SecurityError(f"the test {name[:40]!r} is not known")
        if name not in KIND_TESTS:
            self.budget.pay(value, *args, *kwargs.values())
        return bool(function(value, *args, **kwargs))

    def _called(self, function: Any, args: list[Any], kwargs: dict[str, Any]) -> Any:
        if isinstance(function, Undefined):
            function._fail_with_undefined_error()
        if not isinstance(function, Inner) or not function.is_callable:
            raise TypeError(f"a {type(function).__name__} cannot be called")
        self.budget.spend(2 * STEP)
        self._num_calls += 1
        if self._num_calls > MAX_CALLS:
            raise RecursionError(f"macros call each other more than {MAX_CALLS} levels deep")
        try:
            return self._call_inner(function, args, kwargs)
        finally:
            self._num_calls -= 1

    def _call_inner(self, function: Inner, args: list[Any], kwargs: dict[str, Any]) -> Any:
        if isinstance(function, Macro):
            return self._call_macro(function, args, kwargs)
        self.budget.pay(*args, *kwargs.values())
        if isinstance(function, LoopVariable):
            return self._call_loop(function, args[0])
        if isinstance(function, Method):
            if isinstance(function.owner, LoopVariable):
                return function.owner.call(function.name, args)
            return call_method(self.budget, function.owner, function.name, args, kwargs)
        assert isinstance(function, Function)
        result = function.call(self.budget, *args, **kwargs)
        if not isinstance(result, Inner):
            self.budget.pay(result)
        return result


_EXPRESSIONS: dict[type, Callable[[Expressions, Any, Scope], Any]] = {
    nodes.Const: Expressions._const,
    nodes.TemplateData: Expressions._template_data,
    nodes.Name: Expressions._name,
    nodes.List: Expressions._list,
    nodes.Tuple: Expressions._list,
    nodes.Dict: Expressions._dict,
    nodes.And: Expressions._and,
    nodes.Or: Expressions._or,
    nodes.Not: Expressions._not,
    nodes.Neg: Expressions._negative,
    nodes.Pos: Expressions._positive,
    nodes.Concat: Expressions._concat,
    nodes.Compare: Expressions._compare,
    nodes.CondExpr: Expressions._condition,
    nodes.Filter: Expressions._filter,
    nodes.Test: Expressions._test,
    nodes.Getattr: Expressions._getattr,
    nodes.Getitem: Expressions._getitem,
    nodes.Call: Expressions._call,
    **dict.fromkeys(
        (nodes.Add, nodes.Sub, nodes.Mul, nodes.Div, nodes.FloorDiv, nodes.Mod, nodes.Pow), Expressions._binary
    ),
}
