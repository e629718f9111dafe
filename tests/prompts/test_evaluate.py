"""Whatever a template does, its work is bounded; what chat templates do works as in jinja2."""

from __future__ import annotations

from typing import Any

import pytest
from jinja2.exceptions import SecurityError
from jinja2.sandbox import ImmutableSandboxedEnvironment

from exsa_lab.prompts.evaluate import Evaluation
from exsa_lab.prompts.limits import WorkBudget, WorkExceeded
from exsa_lab.prompts.template import parsed


def render(source: str, units: int = 100_000, **values: Any) -> str:
    return Evaluation(WorkBudget(units), values).run(parsed(source))


@pytest.mark.parametrize(
    "source",
    [
        "{% for m in messages %}{{ m.role }}: {{ m['content'] | trim }}\n{% endfor %}",
        "{{ messages | length }}{{ messages[0]['content'].upper() }}{{ messages[-1].role.startswith('a') }}",
        "{% macro say(x) %}<{{ x }}>{% endmacro %}{{ say(messages[0].role) ~ say('b') }}",
        "{{ messages | map(attribute='role') | join(', ') }}{{ 'a-b'.replace('-', '+') }}",
        "{{ 'ab' * 3 }}{{ 7 % 4 + 2 ** 3 }}",
        "{% set ns = namespace(n=0) %}{% for m in messages %}{% set ns.n = ns.n + 1 %}{% endfor %}{{ ns.n }}",
    ],
)
def test_what_chat_templates_do_works(source: str) -> None:
    messages = [{"role": "user", "content": " hi "}, {"role": "assistant", "content": "yes"}]
    expected = ImmutableSandboxedEnvironment().from_string(source).render(messages=messages)
    assert render(source, messages=messages) == expected


def test_json_is_written_as_transformers_writes_it() -> None:
    assert render("{{ {'a': '<é>'} | tojson }}") == '{"a": "<é>"}'


@pytest.mark.parametrize(
    "source",
    [
        "{% for a in range(1000) %}{% for b in range(1000) %}{% endfor %}{% endfor %}",
        "{{ 'a' * 10000000 }}",
        "{{ [0] * 10000000 }}",
        "{% set ns = namespace(x='a') %}{% for i in range(40) %}{% set ns.x = ns.x ~ ns.x %}{% endfor %}{{ ns.x }}",
        "{% macro f(n) %}{{ f(n) }}{{ f(n) }}{% endmacro %}{{ f(1) }}",
        "{{ ('a' * 10000).replace('a', 'a' * 10000) }}",
        "{{ (['a'] * 5000) | join('b' * 5000) }}",
    ],
)
def test_too_much_work_is_stopped(source: str) -> None:
    with pytest.raises((WorkExceeded, RecursionError)):
        render(source, units=20_000)


@pytest.mark.parametrize(
    "source",
    [
        "{{ 2 ** 100000 }}",
        "{{ '%1000000d' % 1 }}",
        "{{ '{:1000000}'.format(1) }}",
        "{{ 'a'.center(1000000) }}",
        "{{ 'a'.zfill(1000000) }}",
        "{{ [1] | tojson(indent=1000000) }}",
        "{{ ''.__class__.__mro__ }}",
    ],
)
def test_what_no_template_needs_is_refused(source: str) -> None:
    with pytest.raises(SecurityError):
        render(source)


def test_a_budget_is_given_anew_each_time() -> None:
    for _ in range(3):
        assert render("{% for i in range(20) %}a{% endfor %}", units=400) == "a" * 20
