from __future__ import annotations

import pytest

from exsa_lab.errors import ConfigError
from exsa_lab.prompts.tool_format import ID, ToolFormat, tool_format
from exsa_lab.testing import ScriptedModel
from tests.prompts.tool_models import HERMES, LLAMA, MISTRAL, PLAIN, TOOL_CALLS, XML, reply_model


def _format(template: str) -> ToolFormat:
    return tool_format(reply_model(template, ""))


def test_hermes() -> None:
    found = _format(HERMES)
    assert found == ToolFormat(
        '<tool_call>\n{"name": "',
        '", "arguments": ',
        "}\n</tool_call>",
        '}\n</tool_call>\n<tool_call>\n{"name": "',
    )
    assert found.marker == "<tool_call>"


def test_llama_has_no_marker_and_one_call() -> None:
    found = _format(LLAMA)
    assert found == ToolFormat('{"name": "', '", "parameters": ', "}", None)
    assert found.marker == ""


def test_mistral_has_a_control_token_and_ids() -> None:
    found = _format(MISTRAL)
    assert found == ToolFormat(
        '[TOOL_CALLS] [{"name": "',
        '", "arguments": ',
        f', "id": "{ID}"}}]',
        f', "id": "{ID}"}}, {{"name": "',
        ((TOOL_CALLS, "[TOOL_CALLS]"),),
    )
    assert found.marker == "[TOOL_CALLS]"


def test_what_ends_the_reply_is_no_part_of_it() -> None:
    """Some templates end a reply of calls with a token of its own."""
    template = MISTRAL.replace("]{% endif %}", "]<|end|>{% endif %}")
    assert _format(template) == _format(MISTRAL)


def test_markers_that_begin_and_end_alike_are_not_cut() -> None:
    template = HERMES.replace(
        "{{ message.content }}", "{% if message.content %}<text>{{ message.content }}</text>{% endif %}"
    )
    template = template.replace("<tool_call>", "<tool>").replace("</tool_call>", "</tool>")
    found = _format(template)
    assert (found.marker, found.closing) == ("<tool>", "}\n</tool>")


def test_an_empty_thought_before_the_calls_is_no_part_of_them() -> None:
    template = HERMES.replace(
        "{{ message.content }}", "{% if message.tool_calls %}<think>\n\n</think>\n\n{% endif %}{{ message.content }}"
    )
    assert _format(template) == _format(HERMES)


@pytest.mark.parametrize(
    ("template", "what"),
    [(PLAIN, "does not take tools"), (XML, "in a way that is not read"), (None, "has no chat template")],
)
def test_a_model_without_says_so(template: str | None, what: str) -> None:
    model = ScriptedModel(["a"], lambda tokens: [1.0], name="model-x", chat_template=template)
    with pytest.raises(ConfigError, match=f"model-x.*{what}"):
        tool_format(model)


def test_arguments_that_a_template_writes_out_itself() -> None:
    template = HERMES.replace("{{ call.function.arguments | tojson }}", "{{ call.function.arguments }}")
    assert _format(template) == _format(HERMES)
