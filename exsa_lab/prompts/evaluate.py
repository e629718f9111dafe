"""Runs a chat template's program: jinja2 parses it, and what each of its parts does is listed here.

Why not jinja2's own compiler: it turns a template into Python, where every operation is allowed that nobody thought to
guard, and where texts forget who wrote them. Here nothing exists that is not listed; every value is paid for before it
is made (`exsa_lab.prompts.limits`); and every text keeps its marks (`exsa_lab.prompts.marked`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from jinja2 import nodes
from jinja2.exceptions import SecurityError, TemplateRuntimeError

from exsa_lab.prompts.expressions import Expressions
from exsa_lab.prompts.limits import STEP
from exsa_lab.prompts.marked import join
from exsa_lab.prompts.operations import to_text
from exsa_lab.prompts.values import Inner, LoopVariable, Macro, Namespace, Scope

_BREAK, _CONTINUE = "break", "continue"


class Evaluation(Expressions):
    """One rendering of a parsed template with the variables ``values``.

    Raises whatever a template's mistakes raise in jinja2: UndefinedError, SecurityError, TypeError and so on; and
    WorkExceeded beyond the budget.
    """

    def run(self, template: nodes.Template) -> str:
        out: list[str] = []
        self._execute(template.body, Scope(None), out)
        return join(out)

    def _execute(self, body: list[Any], scope: Scope, out: list[str]) -> str | None:
        """Run statements; returns "break" or "continue" where one of them ends the loop around it."""
        for node in body:
            self.budget.spend(STEP)
            statement = _STATEMENTS.get(type(node))
            if statement is None:
                raise SecurityError(f"{{% {type(node).__name__.lower()} %}} is not allowed in a chat template")
            if (signal := statement(self, node, scope, out)) is not None:
                return signal
        return None

    def _text_of(self, body: list[Any], scope: Scope) -> str:
        out: list[str] = []
        self._execute(body, scope, out)
        return join(out)

    # Statements

    def _output(self, node: nodes.Output, scope: Scope, out: list[str]) -> None:
        for child in node.nodes:
            text = child.data if isinstance(child, nodes.TemplateData) else None
            if text is None:
                text = to_text(self.budget, self.evaluate(child, scope))
            self.budget.spend(1 + len(text))
            out.append(text)

    def _if(self, node: nodes.If, scope: Scope, out: list[str]) -> str | None:
        if self.evaluate(node.test, scope):
            return self._execute(node.body, scope, out)
        for branch in node.elif_:
            if self.evaluate(branch.test, scope):
                return self._execute(branch.body, scope, out)
        return self._execute(node.else_, scope, out)

    def _for(self, node: nodes.For, scope: Scope, out: list[str]) -> str | None:
        items = self.evaluate(node.iter, scope)
        return self._loop(node, items, scope, out, depth=0)

    def _loop(self, node: nodes.For, iterable: Any, scope: Scope, out: list[str], depth: int) -> str | None:
        items = self.budget.items(iterable)
        if node.test is not None:
            items = [item for item in items if self.evaluate(node.test, self._bound(node.target, item, scope))]
        loop = LoopVariable(items, depth, node, scope)
        for index, item in enumerate(items):
            loop.index0 = index
            inner = self._bound(node.target, item, scope)
            inner.variables["loop"] = loop
            if self._execute(node.body, inner, out) == _BREAK:
                break
        if not items:
            return self._execute(node.else_, Scope(scope), out)
        return None

    def _bound(self, target: Any, item: Any, scope: Scope) -> Scope:
        inner = Scope(scope)
        self._assign_to(target, item, inner)
        return inner

    def _assign(self, node: nodes.Assign, scope: Scope, out: list[str]) -> None:
        self._assign_to(node.target, self.evaluate(node.node, scope), scope)

    def _assign_to(self, target: Any, value: Any, scope: Scope) -> None:
        self.budget.spend(STEP)
        if isinstance(target, nodes.Name):
            scope.variables[target.name] = value
        elif isinstance(target, nodes.NSRef):
            namespace = self._lookup(target.name, scope)
            if not isinstance(namespace, Namespace):
                raise TemplateRuntimeError("cannot assign attribute on non-namespace object")
            if isinstance(value, Inner):  # They could hold each other, in pairs and circles.
                raise SecurityError(f"a {type(value).__name__.lower()} cannot be kept in a namespace")
            namespace.attributes[target.attr] = value
        else:
            items = self.budget.items(value)
            if len(items) != len(target.items):
                raise ValueError(f"{len(target.items)} values are expected, not {len(items)}")
            for part, item in zip(target.items, items, strict=True):
                self._assign_to(part, item, scope)

    def _assign_block(self, node: nodes.AssignBlock, scope: Scope, out: list[str]) -> None:
        text: Any = self._text_of(node.body, Scope(scope))
        if node.filter is not None:
            text = self._filter(node.filter, scope, text)
        self._assign_to(node.target, text, scope)

    def _macro(self, node: nodes.Macro, scope: Scope, out: list[str]) -> None:
        scope.variables[node.name] = Macro(node, scope)

    def _call_block(self, node: nodes.CallBlock, scope: Scope, out: list[str]) -> None:
        text = self._call(node.call, scope, caller=Macro(node, scope))
        out.append(to_text(self.budget, text))

    def _filter_block(self, node: nodes.FilterBlock, scope: Scope, out: list[str]) -> None:
        text = self._text_of(node.body, Scope(scope))
        out.append(to_text(self.budget, self._filter(node.filter, scope, text)))

    def _with(self, node: nodes.With, scope: Scope, out: list[str]) -> str | None:
        inner = Scope(scope)
        for target, value in zip(node.targets, node.values, strict=True):
            self._assign_to(target, self.evaluate(value, scope), inner)
        return self._execute(node.body, inner, out)

    def _scope(self, node: nodes.Scope, scope: Scope, out: list[str]) -> str | None:
        return self._execute(node.body, Scope(scope), out)

    # Called by expressions

    def _call_loop(self, loop: LoopVariable, items: Any) -> str:
        out: list[str] = []
        self._loop(loop.node, items, loop.scope, out, depth=loop.depth0 + 1)
        return join(out)

    def _call_macro(self, macro: Macro, args: list[Any], kwargs: dict[str, Any]) -> str:
        scope = Scope(macro.scope)
        given = macro.bind(args, kwargs)
        for name, default in macro.parameters:
            if name in given:
                scope.variables[name] = given.pop(name)
            elif default is not None:
                scope.variables[name] = self.evaluate(default, scope)
            else:
                scope.variables[name] = self.undefined(f"parameter {name!r} was not provided", name=name)
        scope.variables |= given
        return self._text_of(macro.node.body, scope)


_STATEMENTS: dict[type, Callable[[Evaluation, Any, Scope, list[str]], str | None]] = {
    nodes.Output: Evaluation._output,
    nodes.If: Evaluation._if,
    nodes.For: Evaluation._for,
    nodes.Assign: Evaluation._assign,
    nodes.AssignBlock: Evaluation._assign_block,
    nodes.Macro: Evaluation._macro,
    nodes.CallBlock: Evaluation._call_block,
    nodes.FilterBlock: Evaluation._filter_block,
    nodes.With: Evaluation._with,
    nodes.Scope: Evaluation._scope,
    nodes.Break: lambda *_: _BREAK,
    nodes.Continue: lambda *_: _CONTINUE,
}
