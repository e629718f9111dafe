"""An expression of a chat template is worth what it is worth in jinja2, or refused."""

from __future__ import annotations

from typing import Any

import pytest
from jinja2.exceptions import SecurityError, UndefinedError
from jinja2.sandbox import ImmutableSandboxedEnvironment

from exsa_lab.prompts.evaluate import Evaluation
from exsa_lab.prompts.expressions import MAX_CALLS
from exsa_lab.prompts.limits import WorkBudget
from exsa_lab.prompts.template import parsed

VALUES: dict[str, Any] = {"n": 3, "text": "aXb", "items": [1, 2, 3], "table": {"a": 1, "items": 2}, "nothing": None}


def worth(expression: str) -> str:
    return Evaluation(WorkBudget(100_000), VALUES).run(parsed(f"{{{{ {expression} }}}}"))


@pytest.mark.parametrize(
    "expression",
    [
        "1 < n <= 3 != 4",
        "2 in items and 'a' not in items",
        "nothing or text",
        "not n",
        "-n + +2",
        "n // 2 ~ n % 2 ~ n / 2",
        "'yes' if n > 2 else 'no'",
        "'yes' if n > 5",
        "items[1:] ~ items[::-1] ~ text[0] ~ text[-2:]",
        "items[7]",
        "table.a ~ table['a'] ~ table['items']",
        "missing",
        "text is string and nothing is none and missing is not defined",
        "text | upper | replace('X', '-')",
        "items | map('string') | join(', ')",
        "{'k': (1, n), 2: [text]}",
        "text.split('X', maxsplit=1) | length",
        "range(*[1, n]) | list",
        "dict(a=1, **{'b': n})",
    ],
)
def test_as_in_jinja2(expression: str) -> None:
    expected = ImmutableSandboxedEnvironment().from_string(f"{{{{ {expression} }}}}").render(**VALUES)
    assert worth(expression) == expected


@pytest.mark.parametrize("expression", ["missing.a", "missing[0]", "missing()", "nothing.a.b"])
def test_what_is_missing_is_an_error_as_there(expression: str) -> None:
    with pytest.raises(UndefinedError):
        worth(expression)


@pytest.mark.parametrize(
    "expression",
    ["text.__class__.x", "text | attr('upper')", "n.real.__doc__", "text is divisibleby_me", "text | nope"],
)
def test_what_is_not_listed_is_refused(expression: str) -> None:
    with pytest.raises((SecurityError, UndefinedError)):
        worth(f"{expression} ~ ''")


def test_only_functions_are_called() -> None:
    with pytest.raises(TypeError, match="cannot be called"):
        worth("text()")


def test_calls_are_not_nested_without_end() -> None:
    source = "{% macro f(n) %}{{ f(n) }}{% endmacro %}{{ f(1) }}"
    with pytest.raises(RecursionError, match=str(MAX_CALLS)):
        Evaluation(WorkBudget(10_000_000), {}).run(parsed(source))
