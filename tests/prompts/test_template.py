"""Templates render as their models expect, and hostile ones end soon, in one line."""

from __future__ import annotations

from typing import Any

import pytest

from exsa_lab.errors import ConfigError, InvalidModel
from exsa_lab.prompts.template import MAX_TEMPLATE_CHARS, ChatTemplate

HI = [{"role": "user", "content": "Hi"}]

CHATML = (
    "{% for message in messages %}{{'<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>\n'}}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)


def render(source: str, messages: list[dict[str, Any]] = HI, **values: Any) -> str:
    given = {"messages": messages, "add_generation_prompt": True, "bos_token": "<s>", "eos_token": "</s>"}
    return ChatTemplate(source).render({"tools": None, "documents": None, **given, **values})


def test_chatml() -> None:
    assert render(CHATML) == "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n"
    assert render(CHATML, add_generation_prompt=False) == "<|im_start|>user\nHi<|im_end|>\n"


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("{{ bos_token }}{{ messages|length }}{{ eos_token }}", "<s>1</s>"),
        ("  {% if true %}\n  x\n  {% endif %}\n", "  x\n"),  # trim_blocks and lstrip_blocks
        (
            "{% for m in messages %}{{ loop.index }}{{ loop.first }}{{ loop.last }}{{ loop.length }}{% endfor %}",
            "1TrueTrue1",
        ),
        ("{% for i in range(9) %}{% if i == 2 %}{% break %}{% endif %}{{ i }}{% endfor %}", "01"),
        ("{% set ns = namespace(n=0) %}{% for i in range(3) %}{% set ns.n = ns.n + i %}{% endfor %}{{ ns.n }}", "3"),
        ("{% for x in [1, 2, 3] if x > 1 %}{{ x }}{{ loop.revindex }}{% endfor %}", "2231"),
        ("{% macro f(x) %}<{{ x }}>{% endmacro %}{{ f('a') ~ f('b') }}", "<a><b>"),
        ("{{ messages[0]['content'].split('i')[0].strip().lower() }}", "h"),
        ("{{ {'a': '<b>'}|tojson }}{{ [1, 2]|join(', ') }}{{ 'x-y'|replace('-', '+') }}", '{"a": "<b>"}1, 2x+y'),
        ("{% for k, v in {'a': 1}.items() %}{{ k }}{{ v }}{% endfor %}", "a1"),
        ("{{ messages|selectattr('role', 'equalto', 'user')|map(attribute='content')|list|first }}", "Hi"),
        ("{% filter upper %}ab{% endfilter %}{% set x %}c{% endset %}{{ x }}", "ABc"),
        (
            "{{ tools is none }}{{ undefined_thing is defined }}{{ ('a' * 3)[1:] }}{{ 7 % 4 }}{{ '%s!' % 'b' }}",
            "TrueFalseaa3b!",
        ),
        ("{{ messages[0].content|trim|indent(2) }}{{ strftime_now('%%') }}", "Hi%"),
    ],
)
def test_what_chat_templates_use_works(source: str, expected: str) -> None:
    assert render(source) == expected


@pytest.mark.real
def test_the_default_models_template() -> None:
    from exsa_lab.models.gguf_facts import read_facts
    from exsa_lab.models.resolve import resolve

    source = read_facts(resolve("smollm2-135m").path).chat_template
    assert source is not None
    text = render(source, [{"role": "system", "content": "Be brief."}, *HI])
    assert text == ("<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n")
    assert "You are a helpful AI assistant named SmolLM" in render(source)


def test_a_long_conversation_fits_the_budget() -> None:
    messages = [{"role": role, "content": "word " * 2_000} for _ in range(100) for role in ("user", "assistant")]
    assert len(render(CHATML, messages)) > 2_000_000


def test_messages_are_not_changed() -> None:
    messages = [dict(HI[0])]
    render("{% for m in messages %}{{ m.content }}{% endfor %}", messages)
    assert messages == HI


def test_a_refusal_is_the_templates_own_words() -> None:
    source = "{% if messages[0].role == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}"
    with pytest.raises(ConfigError, match="System role not supported"):
        render(source, [{"role": "system", "content": "x"}, *HI])


LOOP = "{% for i in range(99999) %}"
HOSTILE = {
    "nested loops": LOOP * 3 + "{% endfor %}" * 3,
    "loop of loops without output": LOOP + "{% set x = range(99999)|list|length %}{% endfor %}",
    "growing text": LOOP + "{% set ns.x = ns.x ~ ns.x %}{% endfor %}",
    "growing sum": LOOP + "{% set ns.x = ns.x + ns.x %}{% endfor %}",
    "growing list": LOOP + "{% set ns.x = [ns.x, ns.x] %}{% endfor %}{{ ns.x }}",
    "growing number": LOOP + "{% set ns.n = ns.n * ns.n %}{% endfor %}",
    "multiplied text": "{{ 'a' * 10**10 }}",
    "multiplied list": "{{ ([0] * 10**10)|length }}",
    "huge power": "{{ 9 ** (9 ** 9) }}",
    "replace": "{{ ('a' * 1000000).replace('a', 'b' * 1000000)|length }}",
    "replace filter": "{{ ('a' * 1000000)|replace('a', 'b' * 1000000)|length }}",
    "join": "{{ ('b' * 1000000).join(range(99999)|map('string'))|length }}",
    "join filter": "{{ range(99999)|join('b' * 1000000)|length }}",
    "indent": "{{ ('\n' * 1000000)|indent(1000000000)|length }}",
    "padding": "{{ 'a'.ljust(10**10) }}",
    "zeros": "{{ 'a'.zfill(10**10) }}",
    "center filter": "{{ 'a'|center(10**10) }}",
    "format": "{{ '{:10000000000}'.format(1) }}",
    "percent": "{{ '%10000000000d' % 1 }}",
    "bytes": "{{ 'a'.encode() * 10**10 }}",
    "integer bytes": "{{ (1).to_bytes(10**10, 'big') }}",
    "json indent": "{{ [[[1]]]|tojson(indent=10**10) }}",
    "output in a block": "{% set x %}" + LOOP * 2 + "x" * 10_000 + "{% endfor %}" * 2 + "{% endset %}",
    "endless recursion": "{% macro m() %}{{ m() }}{{ m() }}{% endmacro %}{{ m() }}",
    "wide recursion": "{% macro m(n) %}{% if n %}{% set x = m(n - 1) ~ m(n - 1) %}{% endif %}{% endmacro %}{{ m(60) }}",
    "recursive loop": "{% for x in [1] recursive %}{{ loop([1, 2]) }}{% endfor %}",
    "slow comparisons": "{% set x = 'a' * 1000000 %}" + LOOP + "{% if x == 'b' ~ x %}{% endif %}{% endfor %}",
    "slow slices": "{% set x = 'a' * 1000000 %}" + LOOP + "{% set y = x[1:] %}{% endfor %}",
    "lorem ipsum": "{{ lipsum(100000) }}",
}
READING = {
    "python internals": "{{ messages.__class__.__mro__ }}",
    "function globals": "{{ raise_exception.__globals__['sys'] }}",
    "include": "{% include '/etc/passwd' %}",
    "import": "{% import 'os' as os %}{{ os }}",
    "extends": "{% extends '/etc/passwd' %}",
    "attribute filter": "{{ messages|attr('__class__') }}",
    "format access": "{{ '{0.__class__}'.format(messages) }}",
    "change a list": "{{ messages.append(1) }}",
    "unknown filter": "{{ 'a'|nonsense }}",
    "syntax": "{% for %}",
    "undefined": "{{ a.b.c }}",
    "division": "{{ 1 / 0 }}",
    "deep parentheses": "{{ " + "(" * 5_000 + "1" + ")" * 5_000 + " }}",
}


@pytest.mark.parametrize("name", [*HOSTILE, *READING])
def test_hostile_templates_are_refused(name: str) -> None:
    prelude = "{% set ns = namespace(x='a', n=9) %}"
    with pytest.raises(InvalidModel) as caught:
        render(prelude + (HOSTILE | READING)[name])
    assert "\n" not in str(caught.value)
    assert not isinstance(caught.value.__cause__, MemoryError)  # Stopped before it took memory, not by lack of it.


@pytest.mark.parametrize(
    "expression", ["messages|map(attribute='__class__')|list|first", "raise_exception.__globals__"]
)
def test_a_forbidden_attribute_alone_is_undefined(expression: str) -> None:
    assert render(f"{{{{ {expression} }}}}") == ""


def test_an_oversized_template_is_not_compiled() -> None:
    with pytest.raises(InvalidModel, match="characters long"):
        ChatTemplate("x" * (MAX_TEMPLATE_CHARS + 1))


def test_one_rendering_does_not_use_up_the_next_ones_budget() -> None:
    template = ChatTemplate("{% for i in range(50000) %}{% endfor %}ok")
    assert [template.render({"messages": HI}) for _ in range(20)] == ["ok"] * 20
