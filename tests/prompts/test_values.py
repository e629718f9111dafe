"""What templates work with besides plain values: bounded, and found by name only."""

from __future__ import annotations

import pytest

from exsa_lab.errors import InvalidModel
from exsa_lab.prompts.template import ChatTemplate, TemplateRefusal
from exsa_lab.prompts.values import MAX_RANGE, Inner, Namespace


def text_of(source: str) -> str:
    return ChatTemplate(source).render({"messages": [{"role": "user", "content": "Hi"}]})


def test_a_namespace_gives_what_it_holds_and_nothing_else() -> None:
    names = Namespace({"a": 1})
    assert names.attribute("a") == (1,)
    assert names.attribute("attributes") is None
    assert Inner().attribute("anything") is None


def test_a_loop_that_changes_a_namespace_is_seen_after_it() -> None:
    source = "{% set ns = namespace(n=0) %}{% for m in messages %}{% set ns.n = ns.n + 1 %}{% endfor %}{{ ns.n }}"
    assert text_of(source) == "1"


def test_a_template_may_refuse() -> None:
    with pytest.raises(TemplateRefusal, match="not so"):
        text_of("{{ raise_exception('not so') }}")


def test_ranges_are_bounded() -> None:
    assert text_of("{{ range(3)|list }}") == "[0, 1, 2]"
    with pytest.raises(InvalidModel):
        text_of("{{ range(" + str(MAX_RANGE + 1) + ")|list|length }}")
