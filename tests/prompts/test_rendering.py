from __future__ import annotations

import pytest

from exsa_lab.prompts import rendering
from exsa_lab.prompts.rendering import hash_of, is_known, render
from exsa_lab.runtime.scripted import CONTENTS

HI = {"messages": [{"role": "user", "content": "Hi"}]}


def test_known_templates_are_rendered_here(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(source: str, values: object) -> str:
        raise AssertionError(source)

    monkeypatch.setattr(rendering, "render_apart", refuse)
    assert is_known(CONTENTS)
    assert render(CONTENTS, HI) == render(CONTENTS + "\n", HI) == "Hi"
    with pytest.raises(AssertionError):
        render(CONTENTS + " ", HI)


def test_unknown_ones_are_rendered_apart() -> None:
    source = "{{ messages[0].content }}!"
    assert not is_known(source)
    assert render(source, HI) == "Hi!"


def test_a_last_line_break_makes_no_difference() -> None:
    assert hash_of("a\n") == hash_of("a") != hash_of("a\n\n")


@pytest.mark.real
def test_the_default_models_template_is_known() -> None:
    from exsa_lab.models.gguf_facts import read_facts
    from exsa_lab.models.resolve import resolve

    assert is_known(read_facts(resolve("smollm2-135m").path).chat_template or "")
