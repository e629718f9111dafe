# ruff: noqa: E501 - a template stands on a line
"""What published templates are written with, each construct beside what jinja2 itself makes of it."""

from __future__ import annotations

from typing import Any

import pytest
from check_templates import ASSISTANT, TOOL, USER, reference
from hypothesis import given, settings
from hypothesis import strategies as st

from exsa_lab.prompts.marked import Marked, mark
from exsa_lab.prompts.template import ChatTemplate

VALUES = {
    "messages": [USER, ASSISTANT, {"role": "user", "content": "  a\n\nb  "}],
    "tools": [TOOL],
    "n": 7,
    "x": 2.5,
    "s": "a-b-c <think>hm</think> d",
    "d": {"b": 1, "A": [1, {"c": None}], "items": 2},
    "nothing": None,
    "bos_token": "<s>",
}
CONSTRUCTS = [
    "{% generation %}{% set y = 1 %}a{{ y }}{% endgeneration %}{{ y }}",
    "{% for i in range(9) %}{% if i == 2 %}{% continue %}{% elif i > 4 %}{% break %}{% endif %}{{ i }}{% endfor %}",
    "{{ d|tojson }}{{ d|tojson(indent=2) }}{{ tools|tojson(sort_keys=true, separators=(',', ':')) }}",
    "{{ '\u00e9<'|tojson }}{{ '\u00e9'|tojson(ensure_ascii=true) }}{{ [1.0, true, none]|tojson }}",
    "{% for m in messages %}{% set c = m.content.replace('a', 'A', 1) %}{{ c }}{{ c|replace('\n', ' ') }}{% endfor %}",
    "{{ 'x={} y={1}'.format(1, 2) if false else 'x={} y={}'.format(1, s) }}{{ '{a:>5}|{b:.2f}'.format(a=n, b=x) }}",
    "{{ '%s-%05.1f-%d%%' % ('a', x, n) }}{{ '%(a)s' % {'a': s} }}{{ '%s' % d }}",
    "{% for k, v in d|dictsort %}{{ k }}={{ v }};{% endfor %}{% for k, v in d.items() %}{{ loop.index }}{{ k }}{% endfor %}",
    "{{ s.split('</think>')[-1].lstrip('\n ') }}{{ s.split('-', 1) }}{{ s.rsplit('-', 1)[0] }}{{ s.partition('-') }}",
    "{{ s.strip('ad ') }}|{{ s.rstrip('d') }}|{{ s|trim }}|{{ s.startswith(('x', 'a')) }}|{{ 'hm' in s }}|{{ s[2:-3] }}",
    "{{ s[::-1] }}{{ s|reverse }}{{ messages[::-1]|length }}{{ messages[-1].content|trim }}{{ messages[9] is defined }}",
    "{% set ns = namespace(a=1, b=[]) %}{% for i in range(3) %}{% set ns.a = ns.a * 2 %}{% set ns.b = ns.b + [i] %}{% endfor %}{{ ns.a }}{{ ns.b }}",
    "{% macro f(a, b=a, c='z') %}{{ a }}{{ b }}{{ c }}{{ varargs }}{{ kwargs }}{% endmacro %}{{ f(1) }}{{ f(1, 2, 3, 4, e=5) }}{{ f(c=1, a=2) }}",
    "{% macro f() %}<{{ caller(1) }}>{% endmacro %}{% call(v) f() %}{{ v }}{{ n }}{% endcall %}",
    "{% macro f(d) %}{% if d is mapping %}{% for k in d %}{{ k }}:{{ f(d[k]) }};{% endfor %}{% else %}{{ d }}{% endif %}{% endmacro %}{{ f(d) }}",
    "{% for i in [1, 2] %}{% set outer = loop %}{% for j in 'ab' %}{{ outer.index }}{{ loop.last }}{{ j }}{% endfor %}{% endfor %}",
    "{% for i in [1, [2, [3]]] recursive %}{% if i is number %}{{ i }}@{{ loop.depth }}{% else %}{{ loop(i) }}{% endif %}{% endfor %}",
    "{% for m in messages if m.role == 'user' %}{{ loop.index }}/{{ loop.length }}{{ loop.previtem is defined }}{{ loop.nextitem is defined }}{% else %}none{% endfor %}",
    "{% for x in [] %}a{% else %}empty{% endfor %}{% for x in missing %}{% endfor %}{{ loop is defined }}",
    "{% set y = 1 %}{% for i in [1, 2] %}{{ y }}{% set y = y + i %}{{ y }}{% endfor %}{{ y }}{% if true %}{% set y = 9 %}{% endif %}{{ y }}",
    "{{ loop.cycle if false else 'a' }}{% for i in range(4) %}{{ loop.cycle('x', 'y') }}{{ loop.changed(i // 2) }}{% endfor %}",
    "{{ messages|map(attribute='role')|join(', ') }}{{ messages|selectattr('role', 'equalto', 'user')|list|length }}",
    "{{ messages|rejectattr('content')|list }}{{ [1, 2, 3]|select('odd')|list }}{{ ['b', 'A']|sort }}{{ ['a', 'A']|unique|list }}",
    "{{ ['a', 'b']|map('upper')|join }}{{ [3, 1]|max }}{{ [3, 1]|min }}{{ [1, 2]|sum }}{{ [1, 2]|first }}{{ [1, 2]|last }}",
    "{{ nothing|default('x') }}{{ nothing|default('x', true) }}{{ missing|d('y') }}{{ nothing or 'z' }}{{ 'q' if false }}",
    "{{ x|round }}{{ x|int }}{{ '7'|int + 1 }}{{ 'a'|int(3) }}{{ '1.5'|float }}{{ -n|abs }}{{ n // 2 }}{{ n % 2 }}{{ 2 ** 3 }}{{ n / 2 }}",
    "{{ s|upper }}{{ s|title }}{{ s|capitalize }}{{ s|wordcount }}{{ s|length }}{{ 'a\nb\n\nc'|indent }}|{{ 'a\nb'|indent(2, true) }}",
    "{{ 'a\n\nb\n'|indent('--', first=true, blank=true) }}|{{ '<&>'|e }}{{ ('<'|safe) + '>' }}{{ ('<'|safe) ~ '>' }}{{ 'a' ~ 1 ~ none ~ d }}",
    "{{ d is mapping }}{{ s is string }}{{ d.A is sequence }}{{ s is iterable }}{{ n is number }}{{ true is boolean }}{{ nothing is none }}",
    "{{ n is divisibleby 7 }}{{ 'a' is in s }}{{ n is not even }}{{ n is eq 7 }}{{ x is float }}{{ n is integer }}{{ true is true }}",
    "{{ 1 < 2 < 3 }}{{ 1 in [1] and not false }}{{ n if n > 3 else 'b' }}{{ (1, 'a') }}{{ [1][0] }}{{ d['items'] }}{{ d.b }}{{ d.get('q', 4) }}",
    "{% set t %}a{{ n }}{% endset %}{{ t }}{% filter upper|replace('A', 'b') %}xa{% endfilter %}{% with q = 3 %}{{ q }}{% endwith %}{{ q }}",
    "{% set a, b = 1, [2] %}{{ a }}{{ b }}{{ none }}{{ True }}{{ 1.0 }}{{ 1e3 }}{{ missing }}{{ [missing, none] }}",
    "{{ s.find('b') }}{{ s.count('-') }}{{ s.isdigit() }}{{ s.removeprefix('a-') }}{{ 'a\nb'.splitlines() }}{{ ', '.join(['a', 'b']) }}",
    "  {%- if n -%}  a  {%- endif %}\n  {% if n %}\n b\n  {% endif %}\n{{ bos_token }}\n",
    "{{ '%c' % 'a' }}{{ 'aXbX'.lower().title().swapcase() }}{{ '{{}}{0!r:>6}'.format('a') }}{{ ['a', 1]|string }}",
    "{{ {'a': {'b': 1}}|items|list }}{{ dict(a=1)|length }}{{ dict(d, b=3)['b'] }}{{ range(1, 9, 3)|list }}{{ [n, x]|tojson }}",
]


@pytest.mark.parametrize("source", CONSTRUCTS)
def test_a_construct_means_what_it_means_in_jinja2(source: str) -> None:
    assert str(ChatTemplate(source).render(dict(VALUES))) == reference(source).render(**VALUES)


REFUSED_BY_BOTH = [
    "{{ raise_exception('no') }}", "{{ missing.x.y }}", "{{ nothing + 1 }}", "{{ 'a' + 1 }}", "{{ n() }}",
    "{% set n.x = 1 %}", "{{ [1]|join(1)|nonsense }}", "{% set a, b = [1] %}", "{{ messages.append(1) }}",
    "{{ d.update(a=1) }}", "{% macro f(a) %}{% endmacro %}{{ f(1, 2) }}", "{{ missing() }}", "{{ missing|tojson }}",
    "{{ '%d' % 'a' }}", "{{ '%s %s' % 'a' }}", "{{ '{}'.format() }}", "{% for a, b in [1] %}{% endfor %}",
    "{{ 1 < 'a' }}", "{{ ''.join([1]) }}", "{{ 'a'.split('') }}", "{{ ''.__class__.__mro__[1] }}",
]  # fmt: skip


@pytest.mark.parametrize("source", REFUSED_BY_BOTH)
def test_what_jinja2_refuses_is_refused(source: str) -> None:
    ours: Any = None
    with pytest.raises(Exception):  # noqa: B017, PT011 - any kind
        reference(source).render(**VALUES)
    with pytest.raises(Exception):  # noqa: B017, PT011
        ours = ChatTemplate(source).render(dict(VALUES))
    assert ours is None


# Marks

OPERATIONS = [
    "{{ u }}", "{{ u|trim }}", "{{ u.strip() }}", "{{ u.lstrip('ab') }}", "{{ u.rstrip() }}", "{{ u.split('b')|join('--') }}",
    "{{ u.split() }}", "{{ u.rsplit('a', 1)|join('+') }}", "{{ u.partition('b')|join }}", "{{ u.rpartition('b')|join }}",
    "{{ u.replace('a', 'xy') }}", "{{ ('-' ~ u ~ '-').replace('-', '') }}", "{{ u|replace('b', u) }}", "{{ u.replace('', '.') }}",
    "{{ u[1:] }}{{ u[::-1] }}{{ u[0] }}", "{{ u|upper }}{{ u.title() }}", "{{ u|tojson }}", "{{ {'k': u}|tojson(indent=1) }}",
    "{{ '%s: %s' % ('a', u) }}", "{{ '{} {a}'.format(u, a=u) }}", "{{ u * 3 }}", "{{ u + 'b' + u }}", "{{ [u, u]|join(', ') }}",
    "{% for c in u %}{{ c }}.{% endfor %}", "{{ u|list|reverse|join }}", "{{ u.splitlines()|join('|') }}", "{{ u|indent(2, true) }}",
    "{{ u.removeprefix('a').removesuffix('b') }}", "{{ u|e }}", "{{ u|default('x') }}{{ u|first }}{{ u|last }}",
    "{% set x %}a{{ u }}{% endset %}{{ x.split('a')[-1] }}", "{% macro m(x) %}({{ x }}){% endmacro %}{{ m(u) ~ m('a') }}",
    "{{ (u|tojson|from_json) }}", "{{ [u]|map('upper')|first }}", "{{ {u: u} }}", "{{ '%10s' % u }}", "{{ u|string|safe }}",
    "{{ u.splitlines(true)|join }}", "{{ [u, 'q']|sort|join }}", "{{ [u, u]|unique|join }}", "{{ {u: 1}|dictsort }}",
]  # fmt: skip


@settings(max_examples=60, deadline=None)
@given(text=st.text(alphabet="ab \n<\u00df\u0149", min_size=1, max_size=8), source=st.sampled_from(OPERATIONS))
def test_every_operation_keeps_track_of_who_wrote_what(text: str, source: str) -> None:
    """Characters no template of these can have written itself are a user's, whatever was done to them."""
    odd = {"a": "\u0105", "b": "\u0107", " ": " ", "\n": "\n", "<": "\u0142"}
    strange = "".join(odd.get(char, char) for char in text)
    for written, letters in ((text, ""), (strange, "\u0105\u0107\u0142\u0104\u0106\u0141\u00df\u0149")):
        found = ChatTemplate(source).render({"u": mark(written, "\x01")})
        assert str(found) == reference(source).render(u=written)
        marks = found.marks if isinstance(found, Marked) else "\0" * len(found)
        assert all(m == "\x01" for char, m in zip(found, marks, strict=True) if char in letters)


def test_a_templates_own_words_are_never_a_users() -> None:
    source = (
        "<|a|>{{ ('<|b|>' ~ u ~ '<|c|>')|trim|replace('q', u) }}{{ u.split('x')|join('<|d|>') }}{{ '<|e|>%s' % u }}"
    )
    found = ChatTemplate(source).render({"u": mark("zxz", "\x01")})
    assert isinstance(found, Marked)
    assert "".join(char for char, m in zip(found, found.marks, strict=True) if m == "\0") == "<|a|><|b|><|c|><|d|><|e|>"
