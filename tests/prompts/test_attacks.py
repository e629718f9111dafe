"""What a hostile template may try, and how little of it is done."""

from __future__ import annotations

import contextlib
import random
import tracemalloc

import pytest

from exsa_lab.errors import InvalidModel
from exsa_lab.prompts.limits import WorkBudget
from exsa_lab.prompts.template import ChatTemplate, TemplateTooCostly
from tests.prompts.template_fuzz import hostile_template

LOOP = "{% for i in range(90000) %}"
BIG = "{% set s = 'a' * 1000000 %}"
PAIRS = "{% set n0 = namespace(a=1) %}" + "".join(
    f"{{% set n{i + 1} = namespace(a=n{i}, b=n{i}) %}}" for i in range(40)
)
ATTACKS = {
    "places to round to": '{{ 1.5|round(900000000,"floor") }}',
    "a named width": '{{ "%(a)4000000000s" % {"a":"x"} }}',
    "long separators": "{{ ([1] * 90000)|tojson(separators=('x' * 90000, ':')) }}",
    "long separators, few items": BIG + "{{ ([1] * 9000)|tojson(separators=(s, s)) }}",
    "a range's maximum": LOOP + "{% set x = range(99999)|max %}{% endfor %}",
    "namespaces in pairs": PAIRS + "{{ n40 }}",
    "namespaces in pairs, written to": "{% set a = namespace() %}{% set a.x = a %}{{ a }}",
    "searching backwards": BIG + "{{ s.rfind('b' + 'a' * 500000) }}",
    "splitting backwards": BIG + "{{ s.rsplit('b' + 'a' * 500000)|length }}",
    "stripping many letters": BIG + "{{ s.strip('b' * 500000 + 'a') }}",
    "trimming many letters": BIG + "{{ s|trim('b' * 500000 + 'a') }}",
    "tuples in pairs": "{% set n = namespace(t=(1,)) %}"
    + LOOP
    + "{% set n.t = (n.t, n.t) %}{% endfor %}{{ {n.t: 1} }}",
    "a date of great width": "{{ strftime_now('%1000000000d') }}",
    "a long fraction": "{{ '%.100000000f' % 1.0 }}",
    "a format's width": "{{ '{:>4000000000}'.format(1) }}",
    "a nested format": "{{ '{:{w}}'.format(1, w=4000000000) }}",
    "a format's fields": BIG + "{{ ('{a}' * 1000).format(a=s)|length }}",
    "a percent format's fields": BIG + "{{ ('%(a)s' * 1000) % {'a': s} }}",
    "many pieces": "{% set s = 'a' * 9000000 %}{{ s.split('a')|length }}",
    "sorting by long keys": BIG + "{{ ([s] * 9000)|sort|length }}",
    "unique long texts": BIG + "{{ ([s] * 9000)|unique|length }}",
    "nesting": "{% set n = namespace(x=[]) %}" + LOOP + "{% set n.x = [n.x] %}{% endfor %}{{ n.x }}",
    "a growing text": "{% set n = namespace(x='a') %}" + LOOP + "{% set n.x = n.x.replace('a', 'aa') %}{% endfor %}",
    "a growing list": "{% set n = namespace(x=[1]) %}" + LOOP + "{% set n.x = n.x + n.x %}{% endfor %}",
    "macros in pairs": "{% macro m(n) %}{{ m(n) ~ m(n) }}{% endmacro %}{{ m(1) }}",
    "macros in a circle": "{% macro a() %}{{ b() }}{% endmacro %}{% macro b() %}{{ a() }}{% endmacro %}{{ a() }}",
    "deep JSON": "{{ ('[' * 100000)|from_json }}",
    "mapping lists": "{{ range(99999)|map('string')|map('list')|list|length }}",
    "padding": BIG + "{{ ('\\n' * 100000)|indent(1000) }}",
    "escaping": BIG + "{{ ('<' * 1000000)|e|e|e|e }}",
    "a long sum": "{{ " + "1 + " * 8_000 + "1 }}",
    "many brackets": "{{ " + "[" * 40_000 + "]" * 40_000 + " }}",
    "many blocks": "{% if 1 %}" * 9_000 + "{% endif %}" * 9_000,
    "a long number": "{{ " + "9" * 90_000 + " }}",
}


@pytest.mark.parametrize("name", ATTACKS)
def test_an_attack_is_refused_before_it_costs_anything(name: str) -> None:
    values = {"messages": [{"role": "user", "content": "Hi"}], "add_generation_prompt": True}
    tracemalloc.start()
    try:
        with pytest.raises(InvalidModel) as caught:
            ChatTemplate(ATTACKS[name]).render(values)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 100 << 20
    assert "\n" not in str(caught.value)
    assert not isinstance(caught.value.__cause__, MemoryError)


def test_work_is_paid_before_it_is_done(monkeypatch: pytest.MonkeyPatch) -> None:
    """However a template is made of what there is, it ends, within its memory."""
    steps = 0
    spend = WorkBudget.spend

    def counted(budget: WorkBudget, units: int) -> None:
        nonlocal steps
        steps += 1
        spend(budget, units)

    monkeypatch.setattr(WorkBudget, "spend", counted)
    for seed in range(60):
        steps = 0
        source = hostile_template(random.Random(seed))
        tracemalloc.start()
        with contextlib.suppress(InvalidModel):
            ChatTemplate(source).render({"messages": [{"role": "user", "content": "Hi"}]})
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 100 << 20, source
        assert steps < 700_000, source


def test_a_costly_template_is_told_from_a_mistaken_one() -> None:
    with pytest.raises(TemplateTooCostly):
        ChatTemplate("{{ 'a' * 10**10 }}").render({})
    with pytest.raises(InvalidModel) as caught:
        ChatTemplate("{{ 1 / 0 }}").render({})
    assert not isinstance(caught.value, TemplateTooCostly)
