"""A conversation's prompt: who wrote which character, a system message that is refused, where a reply goes on."""

from __future__ import annotations

import pytest

from exsa_lab.errors import ConfigError
from exsa_lab.prompts.conversation import OUTSIDE, Rendered, mark_of, render_conversation
from exsa_lab.prompts.marked import Marked
from exsa_lab.prompts.messages import Message, merged_system
from exsa_lab.testing import ScriptedModel

TURNS = (
    "{% for m in messages %}<{{ m.role }}>{{ m.content }}</>{% endfor %}"
    "{% if add_generation_prompt %}<assistant>{% endif %}"
)
NO_SYSTEM = "{% if messages[0].role == 'system' %}{{ raise_exception('no system') }}{% endif %}" + TURNS
FORGETS_SYSTEM = (
    "{% for m in messages %}{% if m.role != 'system' %}<{{ m.role }}>{{ m.content }}</>{% endif %}{% endfor %}"
)
SYSTEM: Message = {"role": "system", "content": "be brief"}
USER: Message = {"role": "user", "content": "why?"}
REPLY: Message = {"role": "assistant", "content": "because "}


def model(template: str | None) -> ScriptedModel:
    return ScriptedModel(["a"], lambda tokens: [1.0], chat_template=template)


def render(template: str, *messages: Message, **options: object) -> Rendered:
    return render_conversation(model(template), list(messages), {}, **options)  # type: ignore[arg-type]


def written_by(rendered: Rendered, mark: str) -> str:
    assert isinstance(rendered.text, Marked)
    return "".join(c for c, by in zip(str(rendered.text), rendered.text.marks, strict=True) if by == mark)


def test_every_character_knows_its_message() -> None:
    rendered = render(TURNS, SYSTEM, USER)
    assert rendered.text == "<system>be brief</><user>why?</><assistant>"
    assert [written_by(rendered, mark_of(index)) for index in (0, 1)] == ["be brief", "why?"]
    assert not rendered.notes


def test_a_text_that_came_beside_the_messages_is_marked_as_such() -> None:
    text = render_conversation(
        model("{{ tools[0].name }}{{ messages[0].content }}"), [USER], {"tools": [{"name": "t"}]}
    )
    assert written_by(text, OUTSIDE) == "t"


@pytest.mark.parametrize("template", [NO_SYSTEM, FORGETS_SYSTEM])
def test_a_system_message_that_the_template_does_not_take_is_merged(template: str) -> None:
    rendered = render(template, SYSTEM, USER)
    assert rendered.messages == merged_system([SYSTEM, USER])
    assert "be brief" in rendered.text
    assert "why?" in rendered.text
    assert len(rendered.notes) == 1


def test_a_reply_goes_on_exactly_where_it_stopped() -> None:
    rendered = render(TURNS, USER, REPLY, continue_final=True)
    assert rendered.text == "<user>why?</><assistant>because "


def test_a_reply_that_has_not_begun_is_opened() -> None:
    rendered = render(TURNS, USER, {"role": "assistant", "content": ""}, continue_final=True)
    assert rendered.text == "<user>why?</><assistant>"


def test_a_reply_that_the_template_leaves_out_cannot_go_on() -> None:
    with pytest.raises(ConfigError, match="leaves out"):
        render("{{ messages[0].content }}", USER, REPLY, continue_final=True)


def test_a_model_without_a_template_says_so() -> None:
    with pytest.raises(ConfigError, match="no chat template"):
        render_conversation(model(None), [USER], {})
